package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// MaxHistory bounds how many records one answer has.
const MaxHistory = 10_000

// history returns the newest records, oldest first.
func (s *Server) history(r *http.Request) (any, error) {
	n := 0
	if v := r.FormValue("n"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 0 {
			return nil, &Error{Text: "n=" + v + " is not a number of records", Code: CodeBadRequest}
		}
	}
	return Newest(s.History, r.FormValue("cluster"), n)
}

// Newest returns the n newest records of a history that concern a cluster; none: of all. n = 0 means as
// many as there are, within MaxHistory.
func Newest(history func(func(engine.Record) error) error, cluster string, n int) ([]engine.Record, error) {
	if n == 0 || n > MaxHistory {
		n = MaxHistory
	}
	var seen int64
	rs := []engine.Record{}
	err := history(func(r engine.Record) error {
		if r.Seq <= seen || cluster != "" && !concerns(&r, cluster) {
			return nil // the old file and the new one may overlap
		}
		seen = r.Seq
		if len(rs) == n {
			rs = append(rs[:0], rs[1:]...)
		}
		rs = append(rs, r)
		return nil
	})
	return rs, err
}

// concerns reports whether a record is about a cluster, or one of its nodes, or everything.
func concerns(r *engine.Record, cluster string) bool {
	within := func(s string) bool {
		return s == cluster || len(s) > len(cluster) && s[:len(cluster)] == cluster && s[len(cluster)] == '/'
	}
	if r.Cluster == cluster || r.Scope == "*" || within(r.Scope) || r.Drift != nil && within(r.Drift.Resource) {
		return true
	}
	for key := range r.Resources {
		if within(key) {
			return true
		}
	}
	return false
}

// find resolves the node of a request.
func (s *Server) find(r *http.Request) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	key, _, err := s.Engine.Find(ctx, r.FormValue("node"))
	return key, err
}

// logs streams a node's outputs.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	o, err := parseLogOptions(r.URL.Query())
	if err != nil {
		fail(w, err)
		return
	}
	key, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &flusher{w: w, c: http.NewResponseController(w)}
	if err := s.Nodes.Logs(r.Context(), key, o, out); err != nil && !out.began {
		fail(w, err)
	}
}

// Bounds of Outputs.
const (
	outputLines = 100
	outputBytes = 64 << 10
)

// Outputs returns the last lines that a node ("cluster/node") has written to each of its outputs since a time; empty where it
// wrote none, or they cannot be read.
func (s *Server) Outputs(ctx context.Context, key string, since time.Time) (stdout, stderr string) {
	of := func(o LogOptions) string {
		var b bytes.Buffer
		o.Since, o.Lines = since, outputLines
		if err := s.Nodes.Logs(ctx, key, o, &b); err != nil {
			return ""
		}
		return string(b.Bytes()[max(0, b.Len()-outputBytes):])
	}
	return of(LogOptions{Stdout: true}), of(LogOptions{Stderr: true})
}

// flusher sends on what was written when it is told to.
type flusher struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	began bool
}

// Write writes.
func (f *flusher) Write(p []byte) (int, error) {
	f.began = true
	return f.w.Write(p)
}

// Flush sends what was written.
func (f *flusher) Flush() { _ = f.c.Flush() }

// diag streams a bundle.
func (s *Server) diag(w http.ResponseWriter, r *http.Request) {
	key, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), bundleTimeout)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bundleTimeout))
	w.Header().Set("Content-Type", "application/gzip")
	out := &flusher{w: w, c: http.NewResponseController(w)}
	if err := s.Nodes.Diag(ctx, key, s.context(ctx), time.Now(), out); err != nil {
		if !out.began {
			fail(w, err)
			return
		}
		panic(http.ErrAbortHandler) // half a bundle must not look like a whole one
	}
}

// BundleName is how the bundle of a node is called: the folder that all of it is in, and its file without the ending.
func BundleName(node string) string { return "zeekrec-diag-" + strings.ReplaceAll(node, "/", "-") }

// context is what a bundle has besides what the agent knows of the node.
func (s *Server) context(ctx context.Context) map[string][]byte {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	files := map[string][]byte{"version.txt": []byte("zeekrec " + s.Version + "\n")}
	put := func(name string, v any, err error) {
		b, merr := json.MarshalIndent(v, "", "  ")
		switch {
		case err != nil:
			b = []byte(err.Error())
		case merr != nil:
			b = []byte(merr.Error())
		}
		files[name] = b
	}
	st, err := s.status(ctx)
	put("status.json", st, err)
	plan, err := s.Engine.Plan(ctx)
	put("plan.json", plan, err)
	rs, err := Newest(s.History, "", 500)
	if err != nil {
		put("history.jsonl", nil, err)
		return files
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range rs {
		if err := enc.Encode(&rs[i]); err != nil {
			break
		}
	}
	files["history.jsonl"] = b.Bytes()
	return files
}

func (o LogOptions) query(node string) url.Values {
	q := url.Values{"node": {node}}
	for name, v := range map[string]bool{"stdout": o.Stdout, "stderr": o.Stderr, "follow": o.Follow} {
		if v {
			q.Set(name, "true")
		}
	}
	if !o.Since.IsZero() {
		q.Set("since", o.Since.Format(time.RFC3339Nano))
	}
	if o.Lines > 0 {
		q.Set("lines", strconv.Itoa(o.Lines))
	}
	return q
}

func parseLogOptions(q url.Values) (o LogOptions, err error) {
	wrong := func(what string) (LogOptions, error) {
		return o, &Error{Text: "cannot understand " + what + "=" + q.Get(what), Code: CodeBadRequest}
	}
	for name, to := range map[string]*bool{"stdout": &o.Stdout, "stderr": &o.Stderr, "follow": &o.Follow} {
		if v := q.Get(name); v != "" {
			if *to, err = strconv.ParseBool(v); err != nil {
				return wrong(name)
			}
		}
	}
	if v := q.Get("since"); v != "" {
		if o.Since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return wrong("since")
		}
	}
	if v := q.Get("lines"); v != "" {
		if o.Lines, err = strconv.Atoi(v); err != nil || o.Lines < 0 {
			return wrong("lines")
		}
	}
	return o, nil
}
