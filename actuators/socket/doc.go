// Package socket is how zeekrec's own processes are asked and told while they run: JSON over HTTP on a Unix socket that
// only its owner can open.
//
//	ln, err := socket.Listen(path)
//	err = socket.Serve(ctx, ln, mux)                          // mux answers with Reply, or with Fail
//
//	c := socket.Dial(path, "the broker")
//	err = c.Do(ctx, http.MethodGet, "/v1/status", nil, &status)
//
// Paths may be longer than the 107 bytes that an address holds.
package socket
