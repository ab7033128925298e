// Package api is how the commands talk to a running zeekrec: HTTP and JSON over a Unix socket in the
// state folder, below /v1/. [Server] is the running side, [Client] the asking one.
//
//	GET  /v1/status /v1/plan /v1/world          what is, what is to be done, what plans are made against
//	GET  /v1/history?cluster=&n=                 records of the journal, oldest first
//	GET  /v1/logs?node=&follow=&since=&lines=&stdout=&stderr=
//	GET  /v1/top, /v1/diag?node=                 usage; a bundle (tar.gz)
//	GET  /v1/messages/json                       the management API, a WebSocket; see package mgmt
//	POST /v1/ask                                 an [Ask] in the body, a [NodeAnswer] of each node back
//	POST /v1/sync /v1/confirm /v1/suspend /v1/resume /v1/stop /v1/start /v1/restart
//	GET  /v1/agents, POST /v1/agent-token /v1/approve /v1/revoke /v1/forget
//	                                             who is enrolled in a fleet
//	GET  /v1/tokens, POST /v1/new-token /v1/revoke-token
//	                                             who may ask from other machines
//	POST /v1/rollback /v1/unpin /v1/retry /v1/rotate-keys
//	                                             a [Request] in the body, a [Result] back
//
// Who asks is told by the kernel (SO_PEERCRED), not by the request. Errors are {"error": …, "code": …}
// with the codes of this package.
//
// The same API, but for the management API, is served to people on other machines by [Server.ServeTLS], with TLS 1.3, and [NewRemote] is a
// client of it. They come with a token (Authorization: Bearer TOKEN), whose role says what they may do: view is enough for what looks,
// operate is needed for everything else, and tokens, those of agents too, are made through the socket alone. They are "NAME (token)" in the history.
// A token is also how the client knows the server: it has the fingerprint of its certificate authority.
//
//	err := server.ServeTLS(ctx, l, identity.ForAPI(config))      // with server.Tokens
//	status, err := api.NewRemote("controller:2152", token).Status(ctx)
//
// Invariants: the socket is for its owner alone (0600, in a folder of 0700); bodies are bounded; every
// request but a followed log has a deadline. Who comes without a token that is good learns nothing but that, and has to wait after ten
// failures within a minute. A route that is not said to be for a role is for none; what is under way ends with its token.
package api
