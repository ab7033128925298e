// Package native is a load generator that does not limit: publishers write frames made beforehand in large
// batches, subscribers count messages by the heads of their frames, all with bare ZMTP 3.1 NULL over TCP. It costs
// a tenth of what libzmq's sockets cost, so that the broker between them is what is measured.
//
// Publishers and subscribers are processes of their own and obey the same lines as zmqpeer:
//
//	err := native.Run(ctx, []string{"pub", "--connect", "127.0.0.1:5556", "--count", "2", "--ready", "3"}, os.Stdin, os.Stdout)
package native
