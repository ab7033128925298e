package desired

import "strings"

// Listens are the addresses that a process of the resource binds, as host:port: its listener, its metrics, the
// ZeroMQ broker. An empty host means all addresses, as with net.Listen.
func (r *Resource) Listens() []string { return ListensOf(r.Part) }

// ListensOf is Listens for whoever has parts in another form, as agents report them: part returns the values
// of a field.
func ListensOf(part func(field string) []string) []string {
	var out []string
	for _, field := range [...]string{"listen", "metrics", "xpub", "xsub"} {
		for _, v := range part(field) {
			v = strings.TrimPrefix(v, "tcp://")
			if port, all := strings.CutPrefix(v, "*:"); all { // as ZeroMQ writes it
				v = ":" + port
			}
			out = append(out, v)
		}
	}
	return out
}
