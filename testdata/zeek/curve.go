package main

import (
	"fmt"
	"os"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
)

// curveTexts are the keys as they were given, by script or by environment.
type curveTexts struct{ clientPublic, clientSecret, serverPublic, serverSecret string }

func (k curveTexts) client() bool {
	return k.serverPublic != "" && k.clientPublic != "" && k.clientSecret != ""
}

func (k curveTexts) server() bool { return k.serverSecret != "" && k.clientPublic != "" }

// curveKeys takes the keys from the environment or from the scripts; from both is fatal, and a set that lacks something counts as none. A
// key that libzmq does not take is the end of the process, by SIGABRT, as it is of a Zeek.
func (n *node) curveKeys() (bus.Keys, error) {
	const variable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"
	env := curveTexts{n.getenv(variable + "CLIENT_PUBLICKEY"), n.getenv(variable + "CLIENT_SECRETKEY"),
		n.getenv(variable + "SERVER_PUBLICKEY"), n.getenv(variable + "SERVER_SECRETKEY")}
	scripted := func(name string) string { return n.program.String(zeromqModule+"curve_"+name, "") }
	code := curveTexts{scripted("client_publickey"), scripted("client_secretkey"), scripted("server_publickey"), scripted("server_secretkey")}
	none := curveTexts{}
	if env != none && code != none {
		return bus.Keys{}, n.reporter.problem("fatal error",
			"ZeroMQ CURVE configured via script variable redefinitions and environment variables at the same time.")
	}
	texts := code
	if env.client() || env.server() {
		texts = env
	}
	var keys bus.Keys
	clientPublic := zeromqKey(texts.client() || texts.server(), texts.clientPublic)
	if texts.client() {
		keys.Client = &zmtp.ClientKeys{Server: zeromqKey(true, texts.serverPublic),
			Client: zmtp.KeyPair{Public: clientPublic, Secret: zeromqKey(true, texts.clientSecret)}}
	}
	if texts.server() {
		secret := zeromqKey(true, texts.serverSecret)
		keys.Server = &zmtp.Keyring{Servers: []zmtp.KeyPair{{Public: secret.Public(), Secret: secret}}, Clients: []zmtp.Key{clientPublic}}
	}
	return keys, nil
}

// zeromqKey sets an option of a socket to a key, where it is wanted.
func zeromqKey(wanted bool, text string) zmtp.Key {
	if !wanted {
		return zmtp.Key{}
	}
	k, err := zmtp.ParseKey(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, "terminate called after throwing an instance of 'zmq::error_t'\n  what():  Invalid argument")
		abort()
	}
	return k
}
