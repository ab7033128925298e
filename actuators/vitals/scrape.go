package vitals

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// most is how large a page may be, in bytes: that of a worker with many scripts has some 200 KB.
const most = 16 << 20

// Count is a counter since the start of the process.
type Count struct {
	N     uint64
	Known bool // false: the process does not have it
}

// Counters are what a Zeek process counts.
type Counters struct {
	// Received are packets that came from the packet source, and Dropped those that it could not take in time.
	Received, Dropped Count
	// Events are those that were lost, on their way out or in, because a queue was full.
	Events Count
	// Errors that its Reporter was told of.
	Errors Count
}

// The names of metrics, the same in Zeek 8.0 to 9.1. The packets are there where zeekrec-telemetry.zeek or misc/stats is
// loaded; drops of events with the ZeroMQ backend; and an event handler is in the list from its first call on.
const (
	receivedPackets = "zeek_net_received_packets_total"
	droppedPackets  = "zeek_net_dropped_packets_total"
	dropsOut        = "zeek_cluster_zeromq_xpub_drops_total"
	dropsIn         = "zeek_cluster_zeromq_onloop_drops_total"
	invocations     = "zeek_event_handler_invocations_total"
	handlerName     = "name"
	reporterError   = "reporter_error"
)

// Scrape asks the telemetry of a process at ADDRESS:PORT, until ctx ends. The answer takes the process's main loop, so one
// that does not come says something, too; Zeek itself answers with old numbers after 5 s.
func Scrape(ctx context.Context, address string) (Counters, error) {
	// A connection of its own, and by no proxy: nothing is left behind.
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return Counters{}, fmt.Errorf("cannot ask for metrics: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Counters{}, fmt.Errorf("cannot ask %s for metrics: %w", address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Counters{}, fmt.Errorf("cannot ask %s for metrics: it answers %s", address, resp.Status)
	}
	c, err := Read(resp.Body)
	if err != nil {
		return Counters{}, fmt.Errorf("cannot ask %s for metrics: %w", address, err)
	}
	return c, nil
}

// Read finds the counters in Prometheus' text format. A page that is not understood as a whole says nothing.
func Read(page io.Reader) (Counters, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(page, most))
	if err != nil {
		return Counters{}, fmt.Errorf("cannot understand the metrics: %w", err)
	}
	c := Counters{Received: sum(families[receivedPackets]), Dropped: sum(families[droppedPackets]), Errors: errorsOf(families[invocations])}
	for _, name := range []string{dropsOut, dropsIn} {
		if n := sum(families[name]); n.Known {
			c.Events.N += n.N
			c.Events.Known = true
		}
	}
	return c, nil
}

// sum over all labels.
func sum(f *dto.MetricFamily) (c Count) {
	for _, m := range f.GetMetric() {
		if n, ok := value(m); ok {
			c.N += n
			c.Known = true
		}
	}
	return c
}

// errorsOf is how often the event of the Reporter's errors was handled. Where others were and that one is not, there was none.
func errorsOf(f *dto.MetricFamily) Count {
	c := Count{Known: len(f.GetMetric()) > 0}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if n, ok := value(m); ok && l.GetName() == handlerName && l.GetValue() == reporterError {
				c.N += n
			}
		}
	}
	return c
}

// value of a counter, also of one whose type is not stated.
func value(m *dto.Metric) (uint64, bool) {
	var v float64
	switch {
	case m.GetCounter() != nil:
		v = m.GetCounter().GetValue()
	case m.GetUntyped() != nil:
		v = m.GetUntyped().GetValue()
	default:
		return 0, false
	}
	if !(v >= 0 && v < math.MaxUint64) { // nor is it a number, perhaps
		return 0, false
	}
	return uint64(v), true
}
