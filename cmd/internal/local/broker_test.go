package local

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/actuators/socket"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// What the agent says in its own words reaches a broker, and so do the keys of the store.
func TestReachBroker(t *testing.T) {
	b, err := broker.New(broker.Config{Version: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := socket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- socket.Serve(ctx, ln, admin.Handler(b)) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	c := reachBroker(path)

	if s, err := c.Status(t.Context()); err != nil || s.Version != "1.0" || s.PID != os.Getpid() || len(s.Members) > 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	store := keys.Open(t.TempDir())
	id, err := store.Ensure("dmz")
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyring{store}.Get("dmz", id)
	if err != nil {
		t.Fatal(err)
	}
	settings := launch.BrokerSettings(&desired.BrokerSpec{SndHWM: 7, QueueBytes: -1, Policy: "disconnect", GraceSeconds: 9})
	for _, tt := range []struct {
		keys []launch.CurveKeys
		want int
	}{{[]launch.CurveKeys{k}, 1}, {nil, 0}} {
		if err := c.Apply(t.Context(), settings, tt.keys); err != nil {
			t.Fatal(err)
		}
		s := b.Status(false)
		if s.Settings.SndHWM != 7 || s.Settings.QueueBytes != -1 || s.Settings.Policy != broker.Disconnect || s.Settings.Grace.Seconds() != 9 || len(s.Curve) != tt.want {
			t.Errorf("with %d keys: %+v, keys %v", len(tt.keys), s.Settings, s.Curve)
		}
	}
	if err := c.Apply(t.Context(), []byte("{"), nil); err == nil {
		t.Error("it took settings that are none")
	}
	if err := c.Apply(t.Context(), settings, []launch.CurveKeys{{ServerPublic: "x"}}); err == nil {
		t.Error("it took a key that is none")
	}
	if err := c.Dead(t.Context(), "worker-1", 7); err != nil {
		t.Errorf("a node that it does not know: %v", err)
	}
	if _, err := (keyring{store}).Get("dmz", "another"); err == nil {
		t.Error("a key that there is not")
	}
	if _, err := reachBroker(path + "x").Status(t.Context()); err == nil {
		t.Error("an answer from nobody")
	}
}
