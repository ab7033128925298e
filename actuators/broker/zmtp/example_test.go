package zmtp_test

import (
	"fmt"
	"net"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// A publisher that listens, and a subscriber, in CURVE.
func Example() {
	server, _ := zmtp.GenerateKeyPair(nil)
	client, _ := zmtp.GenerateKeyPair(nil)
	near, far := net.Pipe() // a TCP connection elsewhere, with a deadline
	done := make(chan struct{})
	go func() {
		defer close(done)
		peer, err := zmtp.ServerHandshake(near, &zmtp.ServerConfig{
			SocketType: "XPUB", Accept: []string{"XSUB", "SUB"},
			Curve: func() zmtp.Keyring {
				return zmtp.Keyring{Servers: []zmtp.KeyPair{server}, Clients: []zmtp.Key{client.Public}}
			},
		})
		if err != nil {
			fmt.Println(err)
			_ = near.Close()
			return
		}
		conn := zmtp.NewConn(near, peer)
		got, err := conn.Recv()
		fmt.Printf("%s, a %s, is subscribed to %q %v\n", peer.Mechanism, peer.SocketType, got.Topic, err)
		_ = conn.Send([]byte(got.Topic+".hello"), []byte("payload"))
		_ = conn.Flush()
	}()
	peer, err := zmtp.ClientHandshake(far, &zmtp.ClientConfig{
		SocketType: "XSUB", Curve: &zmtp.ClientKeys{Server: server.Public, Client: client},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn := zmtp.NewConn(far, peer)
	_ = conn.Subscribe("zeek")
	got, err := conn.Recv()
	fmt.Printf("%s %v\n", got.Frames, err)
	<-done
	// Output:
	// CURVE, a XSUB, is subscribed to "zeek" <nil>
	// [zeek.hello payload] <nil>
}
