// Package systemd keeps zeekrec's processes in units of the system's service manager, over D-Bus.
//
// With scopes zeekrec starts a process and hands it over, before it has executed Zeek, to the scope of its role:
// zeek-CLUSTER-ROLE.scope in zeek.slice. With services systemd starts it, and starts it again when it has ended:
// zeek-CLUSTER-NODE.service in zeek-CLUSTER-ROLE.slice. Limits are those of the role's unit, a scope or a slice, so they
// mean the same with both.
//
//	m, err := systemd.Connect(ctx)
//	if err != nil { … }                        // systemd does not run here, or does not answer
//	scopes := systemd.NewScopes(m)
//	err = scopes.Join(ctx, group.Name{Cluster: "dmz", Role: desired.RoleWorker}, limits, pid)
//
// # Invariants
//
//   - Only units that are named zeek-… are made, changed and stopped, and only those of the clusters asked for.
//   - Limits are set for this boot (runtime), on transient units. What an administrator writes below /etc/systemd stays,
//     wins, and is told.
//   - A cluster's or node's name is escaped as systemd has it, so no two of them share a unit: of cluster a-b it is
//     zeek-a\x2db-worker.scope.
//   - Nothing waits for systemd longer than the caller's context, and longer than callWithin for one call.
package systemd
