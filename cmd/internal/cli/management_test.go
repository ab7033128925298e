package cli

import (
	"testing"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
)

// TestManagementCheck: a port that other machines reach asks for certificates, unless it is said that it shall not.
func TestManagementCheck(t *testing.T) {
	open := func(at string) string {
		return "cannot use --api-listen " + at + ": whoever reaches it from another machine could deploy"
	}
	ca := mgmt.TLSFiles{ClientCA: "ca.pem"}
	for _, tt := range []struct {
		name string
		m    management
		want string // empty: it is allowed
	}{
		{name: "no port"},
		{name: "loopback", m: management{listen: "127.0.0.1:2149"}},
		{name: "loopback's network", m: management{listen: "127.8.0.1:2149"}},
		{name: "IPv6 loopback", m: management{listen: "[::1]:2149"}},
		{name: "localhost", m: management{listen: "localhost:2149"}},
		{name: "every address", m: management{listen: ":2149"}, want: open(":2149")},
		{name: "every IPv4 address", m: management{listen: "0.0.0.0:2149"}, want: open("0.0.0.0:2149")},
		{name: "every IPv6 address", m: management{listen: "[::]:2149"}, want: open("[::]:2149")},
		{name: "an address", m: management{listen: "192.0.2.1:2149"}, want: open("192.0.2.1:2149")},
		{name: "a name, which may be anything", m: management{listen: "controller.example:2149"}, want: open("controller.example:2149")},
		{name: "TLS says who the controller is, not who its clients are", m: management{listen: ":2149", requireTLS: true, tls: mgmt.TLSFiles{Cert: "c.pem", Key: "k.pem"}}, want: open(":2149")},
		{name: "certificates of clients", m: management{listen: ":2149", tls: ca}},
		{name: "as was asked for", m: management{listen: ":2149", insecure: true}},
		{name: "not an address", m: management{listen: "2149"}, want: "cannot use --api-listen 2149: it has to be HOST:PORT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.m.check(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
