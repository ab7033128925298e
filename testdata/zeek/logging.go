package main

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/testdata/zeek/logs"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// logsForCluster says whether the node takes the cluster's logs.
func (n *node) logsForCluster(self script.Node) bool {
	return self.Type == "LOGGER" || self.Type == "MANAGER" && n.program.Bool("Cluster::manager_is_logger", true)
}

// openLogs prepares the logs of a node that writes any, from the settings in its
// scripts, and rotates what an earlier process left.
func (n *node) openLogs() error {
	self, _ := n.program.Self()
	clustered := n.getenv("CLUSTER_NODE") != ""
	if clustered && !n.logsForCluster(self) {
		return nil
	}
	var interval time.Duration
	if clustered {
		interval = time.Hour
	}
	n.logs = &logs.Set{
		Dir:         n.program.String("Log::default_logdir", ""),
		RotationDir: n.program.String("Log::default_rotation_dir", ""),
		Interval:    n.program.Interval("Log::default_rotation_interval", interval),
		Archiver:    n.program.String("Log::rotation_format_func", "") == "archiver_rotation_format_func",
		Metadata:    n.metadata(),
		Leftover:    n.program.Bool("LogAscii::enable_leftover_log_rotation", false),
		JSON:        n.program.Bool("LogAscii::use_json", false),
	}
	rotated, err := n.logs.Leftovers(time.Local)
	if err != nil {
		return n.fatalLog(err)
	}
	for _, r := range rotated {
		fmt.Fprintf(os.Stderr, "Rotated/postprocessed leftover log '%s' -> '%s' \n", absolute(r.From), r.To)
	}
	return nil
}

// metadata is archiver_log_metadata as it stands in file names: log_suffix by
// itself where there are several loggers, then what the scripts add.
func (n *node) metadata() string {
	var pairs []string
	loggers := 0
	for _, other := range n.program.Nodes() {
		if other.Type == "LOGGER" {
			loggers++
		}
	}
	if loggers > 1 {
		pairs = append(pairs, "log_suffix="+n.getenv("CLUSTER_NODE"))
	}
	for _, p := range n.program.Pairs("archiver_log_metadata") {
		if entry := p[0] + "=" + p[1]; p[1] != "" && !slices.Contains(pairs, entry) {
			pairs = append(pairs, entry)
		}
	}
	return strings.Join(pairs, ",")
}

// logJoins writes what a cluster of Broker's would write when it forms. With ZeroMQ the hellos are real ones.
func (n *node) logJoins(now time.Time) error {
	if n.logs == nil || n.bus != nil {
		return nil
	}
	self := n.getenv("CLUSTER_NODE")
	for _, other := range n.program.Nodes() {
		if other.Name == self {
			continue
		}
		if err := n.log(now, logs.Cluster, stamp(now), self, "stand-in: pretends a hello from "+other.Name); err != nil {
			return err
		}
	}
	return nil
}

// hasTraffic: loggers invent lines, for tests with nobody else, and so does who has an interface and loggers to send them to.
func (n *node) hasTraffic() bool {
	return n.faults.logRate > 0 && (n.logs != nil || n.outbox != nil && n.options.hasIface)
}

// maxLines is how many are written at a time, so that whatever else there is to do is done.
const maxLines = 10000

// logTraffic writes the lines of conn.log that are due by now, and a dns.log line
// with every fourth. The uids count up, so that a missing line shows.
func (n *node) logTraffic(now time.Time) error {
	if !n.hasTraffic() {
		return nil
	}
	n.loggedAt = now
	due := min(n.conn+maxLines, 1+int(now.Sub(n.loggedFrom).Seconds()*n.faults.logRate))
	for ; n.conn < due; n.conn++ {
		uid := fmt.Sprintf("C%s%07d", n.uidPrefix(), n.conn)
		client := strconv.Itoa(32768 + n.conn%28000)
		start := []string{stamp(now), uid, "127.0.0.1", client, "127.0.0.1", "53", "udp"}
		err := n.log(now, logs.Conn, append(start, "stand-in", "0.010000", "40", "56", "SF", "T", "T", "0", "Dd", "1", "68", "1", "84", logs.Unset, "17")...)
		if err == nil && n.conn%4 == 0 {
			err = n.log(now, logs.DNS, append(start, "1", "0.010000", "stand-in.invalid", "1", "C_INTERNET", "1", "A", "0", "NOERROR",
				"F", "F", "T", "T", "0", "127.0.0.1", "60.000000", "F", "0", "query")...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// trafficDue is when the next line is; zero: never. At high rates several are written at once, every 10 ms.
func (n *node) trafficDue() time.Time {
	if !n.hasTraffic() {
		return time.Time{}
	}
	next := n.loggedFrom.Add(time.Duration(float64(n.conn) / n.faults.logRate * float64(time.Second)))
	if soonest := n.loggedAt.Add(10 * time.Millisecond); next.Before(soonest) {
		return soonest
	}
	return next
}

// uidPrefix differs between processes, of one node as of several.
func (n *node) uidPrefix() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %d %d", n.getenv("CLUSTER_NODE"), os.Getpid(), n.loggedFrom.UnixNano())
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

func (n *node) nextRotation(now time.Time) time.Time {
	if n.logs == nil || n.logs.Interval <= 0 {
		return time.Time{}
	}
	return logs.Next(now, n.logs.Interval)
}

// rotate rotates all open logs and runs the postprocessing command that applies.
func (n *node) rotate(now time.Time, terminating bool) error {
	rotated, err := n.logs.Rotate(now)
	if err != nil {
		return n.fatalLog(err)
	}
	// A logger that nobody supervises runs archive-log unless told otherwise.
	command := ""
	if n.getenv("CLUSTER_NODE") != "" {
		command = "archive-log"
	}
	if command = n.program.String("Log::default_rotation_postprocessor_cmd", command); command == "" {
		return nil
	}
	last := "0"
	if terminating {
		last = "1"
	}
	const format = "06-01-02_15.04.05"
	for _, r := range rotated {
		c := exec.Command("sh", "-c", command+` "$@"`, "sh", r.To, r.Path, r.Open.Format(format), r.Close.Format(format), last, "ascii")
		c.Stderr = os.Stderr
		_ = c.Run() // Zeek does not look at the outcome either
	}
	return nil
}

// closeLogs is the end of an orderly stop. Zeek rotates, and then writes once more
// to stats.log and telemetry.log where the scripts that fill them are loaded: these
// stay behind, with their shadow files.
func (n *node) closeLogs(now time.Time) error {
	if n.logs == nil {
		return nil
	}
	if err := n.logEnd(now); err != nil {
		return err
	}
	if err := n.rotate(now, true); err != nil {
		return err
	}
	peer := n.getenv("CLUSTER_NODE")
	if n.program.Loaded("/misc/stats.zeek") {
		if err := n.logs.Write(now, logs.Stats, stamp(now), peer, "0", "0", "0"); err != nil {
			return n.fatalLog(err)
		}
	}
	if n.program.Loaded("/frameworks/telemetry/log.zeek") {
		if err := n.logs.Write(now, logs.Telemetry, stamp(now), peer, "gauge", "zeek_log_stream_writes_total", strconv.Itoa(n.conn)+".0"); err != nil {
			return n.fatalLog(err)
		}
	}
	n.logs.Close(now)
	return nil
}

// logEnd is the last line of a node's that goes to reporter.log.
func (n *node) logEnd(now time.Time) error {
	return n.log(now, logs.Reporter, stamp(now), "Reporter::INFO", "received termination signal", orEmpty(n.reporter.place))
}

// stamp is a time as Zeek's logs have it.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000) }
