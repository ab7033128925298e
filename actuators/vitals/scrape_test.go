package vitals

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// page is what a worker of Zeek 8.2 says, cut down to what matters, and to what looks like it.
const page = `# HELP exposer_transferred_bytes_total Transferred bytes to metrics services
# TYPE exposer_transferred_bytes_total counter
exposer_transferred_bytes_total 0
# HELP zeek_cluster_zeromq_onloop_drops_total Number of received events dropped due to OnLoop queue full.
# TYPE zeek_cluster_zeromq_onloop_drops_total counter
zeek_cluster_zeromq_onloop_drops_total{node="worker-1"} 4
# TYPE zeek_cluster_zeromq_xpub_drops_total counter
zeek_cluster_zeromq_xpub_drops_total{node="worker-1"} 3
# TYPE zeek_event_handler_invocations_total counter
zeek_event_handler_invocations_total{name="zeek_init",node="worker-1"} 1
zeek_event_handler_invocations_total{name="reporter_error",node="worker-1"} 2
zeek_event_handler_invocations_total{name="reporter_warning",node="worker-1"} 9
# TYPE zeek_net_dropped_packets_total counter
zeek_net_dropped_packets_total{node="worker-1"} 12
# TYPE zeek_net_packet_lag_seconds gauge
zeek_net_packet_lag_seconds{node="worker-1"} 0.001
# TYPE zeek_net_received_packets_total counter
zeek_net_received_packets_total{node="worker-1"} 1.5e+06
`

func known(n uint64) Count { return Count{N: n, Known: true} }

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		want       Counters
	}{
		{"a worker", page, Counters{known(1_500_000), known(12), known(7), known(2)}},
		{"nothing", "", Counters{}},
		{"no error yet", "zeek_event_handler_invocations_total{name=\"zeek_init\"} 1\n", Counters{Errors: known(0)}},
		{"no type is stated", "zeek_net_received_packets_total 5\n", Counters{Received: known(5)}},
		{"one of two drops", dropsIn + " 1\n", Counters{Events: known(1)}},
		{"no number of packets", "zeek_net_received_packets_total NaN\nzeek_net_dropped_packets_total -1\n" + dropsIn + " +Inf\n", Counters{}},
		{"a gauge of that name", "# TYPE zeek_net_received_packets_total gauge\nzeek_net_received_packets_total 5\n", Counters{}},
	} {
		if got, err := Read(strings.NewReader(tt.page)); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	if c, err := Read(strings.NewReader(page + "zeek_net{ 5\n")); err == nil {
		t.Errorf("half a page: %+v", c)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(page)
	f.Add("zeek_net_received_packets_total{a=\"\\n\"} 1 2\n")
	f.Add("# TYPE x histogram\nx_bucket{le=\"1\"} 1\n")
	f.Fuzz(func(t *testing.T, page string) {
		c, err := Read(strings.NewReader(page))
		if err != nil && c != (Counters{}) {
			t.Errorf("%+v, %v", c, err)
		}
		for _, n := range []Count{c.Received, c.Dropped, c.Events, c.Errors} {
			if !n.Known && n.N != 0 {
				t.Errorf("unknown, and %d", n.N)
			}
		}
	})
}

func TestScrape(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	var status atomic.Int32
	status.Store(http.StatusOK)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		code := int(status.Load())
		if code == 0 {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		w.WriteHeader(code)
		fmt.Fprint(w, page)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	address := s.Listener.Addr().String()
	if c, err := Scrape(t.Context(), address); err != nil || c.Received != known(1_500_000) {
		t.Errorf("%+v, %v", c, err)
	}
	status.Store(http.StatusServiceUnavailable)
	if _, err := Scrape(t.Context(), address); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
	status.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Scrape(ctx, address); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that hangs: %v", err)
	}
	close(hang)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	if _, err := Scrape(t.Context(), nobody); err == nil || !strings.HasPrefix(err.Error(), "cannot ask "+nobody) {
		t.Errorf("nobody is there: %v", err)
	}
}
