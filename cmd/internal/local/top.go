package local

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/observed"
)

// Bounds of asking nodes for their metrics.
const (
	topMoment      = 500 * time.Millisecond
	metricsTimeout = time.Second
	metricsMost    = 8 << 20
	metricsAtOnce  = 8
)

// Top returns what the nodes that run use, sorted by name. It takes half a second, over which CPU time
// is measured.
func (n *Nodes) Top(ctx context.Context) ([]api.Usage, error) {
	report := n.agent.Report()
	before, began := n.agent.Usage(), time.Now()
	var mu sync.Mutex
	packets := map[string][2]*uint64{}
	var asking errgroup.Group
	asking.SetLimit(metricsAtOnce)
	for i := range report.Resources {
		r := &report.Resources[i]
		if r.PID == 0 || len(r.Parts["metrics"]) == 0 {
			continue
		}
		asking.Go(func() error {
			p, d := packetsOf(ctx, r.Parts["metrics"][0])
			mu.Lock()
			defer mu.Unlock()
			packets[r.Key()] = [2]*uint64{p, d}
			return nil
		})
	}
	_ = asking.Wait()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(time.Until(began.Add(topMoment))):
	}
	after, took := n.agent.Usage(), time.Since(began).Seconds()
	out := []api.Usage{}
	for i := range report.Resources {
		if u, ok := usage(&report.Resources[i], before, after, took); ok {
			u.Packets, u.Drops = packets[u.Resource][0], packets[u.Resource][1]
			out = append(out, u)
		}
	}
	return out, nil
}

func usage(r *observed.Resource, before, after map[string]process.Usage, took float64) (api.Usage, bool) {
	now, ok := after[r.Key()]
	if !ok || r.PID == 0 {
		return api.Usage{}, false
	}
	u := api.Usage{Resource: r.Key(), Role: r.Role, PID: r.PID, RSS: now.RSS, Threads: now.Threads}
	if was, ok := before[r.Key()]; ok && now.CPUSeconds >= was.CPUSeconds {
		u.CPU = 100 * (now.CPUSeconds - was.CPUSeconds) / took
	}
	return u, true
}

// packetsOf asks a node's telemetry.
func packetsOf(ctx context.Context, address string) (received, dropped *uint64) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, nil
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil
	}
	defer resp.Body.Close()
	return readPackets(io.LimitReader(resp.Body, metricsMost))
}

// readPackets finds the counters in the text format of Prometheus.
func readPackets(r io.Reader) (received, dropped *uint64) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		name, rest, _ := strings.Cut(line, " ")
		name, _, labelled := strings.Cut(name, "{")
		if labelled {
			rest = line[strings.LastIndexByte(line, '}')+1:]
		}
		var to **uint64
		switch name {
		case "zeek_net_received_packets_total":
			to = &received
		case "zeek_net_dropped_packets_total":
			to = &dropped
		default:
			continue
		}
		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil && f >= 0 {
			n := uint64(f)
			*to = &n
		}
	}
	return received, dropped
}
