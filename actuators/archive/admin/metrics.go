package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zeekrec/zeekrec/actuators/archive"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

// Metrics serves an archiver's numbers to Prometheus.
func Metrics(a *archive.Archiver) http.Handler {
	return socket.Metrics(collector{a})
}

// MetricsOnly is what may be served on a TCP port: /metrics, and nothing that tells.
func MetricsOnly(a *archive.Archiver) http.Handler {
	return socket.MetricsOnly(Metrics(a))
}

// collector reads a status at each scrape.
type collector struct{ a *archive.Archiver }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("zeekrec_archive_"+name, help, labels, nil)
}

// Describe sends nothing, as the broker's collector does.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the numbers of now.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st := c.a.Status()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter(desc("files_total", "Logs that were archived."), st.Totals.Files)
	bytes := desc("bytes_total", "Bytes of logs that were archived, as read from the queue and as written to the archive.", "direction")
	counter(bytes, st.Totals.Read, "read")
	counter(bytes, st.Totals.Written, "written")
	counter(desc("deleted_files_total", "Archived logs that were deleted since they were older than keep."), st.Totals.Deleted)
	counter(desc("failures_total", "Looks at the queue that ended early."), st.Totals.Failures)
	gauge(desc("backlog_files", "Logs that wait in the queue."), float64(st.Backlog.Files))
	gauge(desc("backlog_bytes", "Bytes that wait in the queue."), float64(st.Backlog.Bytes))
	oldest := 0.0
	if !st.Backlog.Oldest.IsZero() {
		oldest = time.Since(st.Backlog.Oldest).Seconds()
	}
	gauge(desc("backlog_age_seconds", "How long the log has waited that waits for longest; 0: none waits."), oldest)
	gauge(desc("refused_files", "Files of the queue that cannot be archived."), float64(len(st.Refused)))
	gauge(desc("free_bytes", "Room on the file system of the archive."), float64(st.Space.Free))
	gauge(desc("size_bytes", "Size of the file system of the archive."), float64(st.Space.Total))
	degraded := 0.0
	if len(st.Degraded) > 0 {
		degraded = 1
	}
	gauge(desc("degraded", "1 while something is wrong: zeekrec status says what."), degraded)
	if !st.Archived.IsZero() {
		gauge(desc("last_archived_timestamp_seconds", "When a log was archived last."), float64(st.Archived.UnixNano())/1e9)
	}
	if st.LastError != nil {
		gauge(desc("last_error_timestamp_seconds", "When something went wrong last."), float64(st.LastError.At.UnixNano())/1e9)
	}
}
