// Package admin is how a running broker is asked and told: JSON over HTTP on a Unix socket that only its owner
// can open. The agent uses it, and so do `zeekrec broker status` and `ask`.
//
//	GET  /v1/status[?peers=yes]   broker.Status
//	PUT  /v1/settings             Change: settings and keys, in place
//	POST /v1/dead                 Dead: a node's process has ended
//	POST /v1/ask                  Question -> Answer: a value of a node
//	POST /v1/ping                 Ping -> Pinged: which nodes answer
//	GET  /metrics                 Prometheus
//
// A client:
//
//	st, err := admin.Dial(socket).Status(ctx, false)
//
// Keys travel over the socket, and are never in an answer.
package admin
