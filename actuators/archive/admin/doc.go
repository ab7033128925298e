// Package admin is how a running archiver is asked and told, on its socket. The agent uses it, and so does `zeekrec
// archive status`.
//
//	GET /v1/status     archive.Status
//	PUT /v1/settings   archive.Settings, in place
//	GET /metrics       Prometheus
//
// A client:
//
//	st, err := admin.Dial(socket).Status(ctx)
package admin
