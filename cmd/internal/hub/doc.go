// Package hub is the NATS server inside a controller: agents dial in at its one port, and the controller itself is connected within
// the process.
//
// Whoever comes shows a certificate, by which [Config.Admit] knows which agent it is, and may then use the subjects of that agent
// alone; or none, and may then ask to be enrolled, and nothing else. There is no account, no password and no plain text: TLS comes
// before the first byte of NATS.
//
// Invariants: an agent sees and sends what is its own; an agent is connected once, and the newest connection is the one that counts,
// since an older one may be half dead; who is not enrolled can hold no more than [Config.Strangers] connections, for a minute each.
//
//	h, err := hub.Start(hub.Config{Listen: "0.0.0.0:2150", TLS: …, Admit: authority.Check, …})
//	conn, err := h.Connect("controller")
//	err = h.Run(ctx)
package hub
