// Package mgmt speaks the client protocol of Zeek's management framework, so that zeek-client works with zeekrec as it does
// with the framework's controller, and zeekrec's own commands work with either.
//
//	zeek-client ── WebSocket, plain or TLS ──► Server ──► Controller ──► the folder of clusters, the engine
//	zeekrec get-nodes … ── the local socket ─────┘
//
// The layers, from the wire inwards:
//
//	value.go, message.go   Broker's data model in JSON, and the messages of Zeek's WebSocket interface
//	records.go             the framework's records, which are vectors of their fields
//	listen.go, tls.go      one port for plain and TLS connections, and who may hold one
//	server.go              one connection: handshake, requests, answers, pings
//	controller.go …        what requests mean to zeekrec
//	client.go              the other end
//
// A controller of the framework keeps one staged and one deployed configuration. Here what is deployed is NAME.cfg of one
// cluster in the folder of clusters, whose nodes are written anew and whose [zeekrec…] sections stay; the staged
// configuration and the id of the deployed one are in management-NAME.json in the state folder.
//
// Texts that are marked as compatibility strings are the framework's to the letter: scripts look for them.
//
// Invariants: what a client sends is bounded in size, depth, rate and number of connections before it is looked at; only
// who asked is answered; nothing that a client sends reaches a file before it was read back from the text that is to be
// written, and found to say the same; a configuration without nodes never stops a cluster, because that is what zeek-client
// makes of a file that it cannot read.
package mgmt
