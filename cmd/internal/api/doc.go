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
//	GET  /v1/agents, POST /v1/agent-token /v1/approve /v1/revoke
//	                                             who is enrolled in a fleet
//	POST /v1/rollback /v1/unpin /v1/retry /v1/rotate-keys
//	                                             a [Request] in the body, a [Result] back
//
// Who asks is told by the kernel (SO_PEERCRED), not by the request. Errors are {"error": …, "code": …}
// with the codes of this package.
//
// Invariants: the socket is for its owner alone (0600, in a folder of 0700); bodies are bounded; every
// request but a followed log has a deadline.
package api
