package desired

// Relations looks up how a field of a running resource has to relate to a desired one that lacks it
// (the last worker was removed, say). It is empty for a field that the role never reads. Where the two
// backends or settings differ the stricter one is returned: a change of backend is a restart anyway.
func Relations() func(role Role, field string) Relation {
	type cell struct {
		role  Role
		field string
	}
	cells := map[cell]Relation{}
	all := []Role{RoleLogger, RoleManager, RoleProxy, RoleWorker}
	strict := map[Relation]int{Later: 1, Live: 2, Tune: 3, Follow: 4, Cover: 5, Equal: 6}
	for _, u := range table() {
		roles := u.roles
		if roles == nil {
			roles = all
		}
		for _, r := range roles {
			c := cell{r, u.field}
			if strict[u.relation] > strict[cells[c]] {
				cells[c] = u.relation
			}
		}
	}
	for _, u := range brokerTable() {
		cells[cell{RoleBroker, u.field}] = u.relation
	}
	for _, u := range archiverTable() {
		cells[cell{RoleArchiver, u.field}] = u.relation
	}
	return func(role Role, field string) Relation { return cells[cell{role, field}] }
}
