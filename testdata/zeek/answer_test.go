package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// TestAnswersZeekrec: what zeekrec's own script answers, by the stand-in and by Zeek, where there is one.
func TestAnswersZeekrec(t *testing.T) {
	const script = "../../desired/launch/zeek/zeekrec-answer.zeek"
	answer, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	zeeks := map[string]string{"stand-in": binary()}
	if _, err := os.Stat("/opt/zeek/bin/zeek"); err == nil {
		zeeks["zeek"] = "/opt/zeek/bin/zeek"
	} else {
		t.Log("needs a real Zeek in /opt/zeek/bin for the half of it")
	}
	for name, zeek := range zeeks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, broker.Keyring{})
			c := newCluster(t, h, "manager", "logger-1", "worker-1")
			c.zeek["worker-1"] = zeek
			c.files["zeekrec-answer.zeek"] = string(answer)
			c.files["join.zeek"] += `
@load ./zeekrec-answer
@load site
redef Site::name = "here and " + Cluster::node;
redef Site::number = 17;
redef Site::yes = T;
`
			c.files["site.zeek"] = `module Site;
export {
	const name = "" &redef; const number = 0 &redef; const yes = F &redef; const at = 0/tcp &redef;
	type Nothing: record { a: count; };
	global unset: string;
	global nodes: table[string] of set[port] = { ["a"] = set(1/tcp) };
	global odd = "\xc3\xbc\xff\"\n";
	global large = "";
	function f(a: count): count { return a; }
	global site_secretkey = "no";
}
event zeek_init() { large = "123456"; local i = 0; while ( ++i < 22 ) large = string_cat(large, large); }
`
			c.start("worker-1")
			ask := func(kind zeekbus.QuestionKind, arg string) zeekbus.Reply {
				t.Helper()
				var r zeekbus.Reply
				eventually(t, "an answer", func() bool {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					var err error
					r, err = h.broker.Question(ctx, zeekbus.Question{Node: "worker-1", Kind: kind, Arg: arg}, "")
					return err == nil
				})
				return r
			}
			if r := ask(zeekbus.QuestionPing, ""); !r.OK || r.Text != "" || r.Node != "worker-1" {
				t.Errorf("ping: %+v", r)
			}
			if r := ask("nonsense", ""); r.OK || r.Text != `unknown question "nonsense"` {
				t.Errorf("nonsense: %+v", r)
			}
			var stats struct {
				Time  float64
				Stats map[string]uint64
			}
			r := ask(zeekbus.QuestionNetStats, "")
			if err := json.Unmarshal([]byte(r.Text), &stats); err != nil || !r.OK || time.Since(time.Unix(int64(stats.Time), 0)).Abs() > time.Hour || len(stats.Stats) < 4 {
				t.Errorf("%+v: %+v, %v", r, stats, err)
			}
			want := map[string]string{
				"Cluster::node":        `"worker-1"`,
				"Site::name":           `"here and worker-1"`,
				"Site::number":         "17",
				"Site::yes":            "true",
				"Cluster::backend":     `"Cluster::CLUSTER_BACKEND_ZEROMQ"`,
				"Cluster::nosuch":      "! unknown id",
				"":                     "! unknown id",
				"Site::site_secretkey": "! not shown, since it is a secret",
				"Cluster::Backend::ZeroMQ::curve_client_secretkey": "! not shown, since it is a secret",
			}
			if name == "zeek" {
				for id, value := range map[string]string{
					"Site::unset":   "! no ID value",
					"Site::Nothing": "! no ID value",
					"Site::odd":     `"\\xc3\\xbc\\xff\"\n"`, // no UTF-8, all in all
					"Site::at":      `{"port":0,"proto":"tcp"}`,
					"Site::nodes":   `{"a":[{"port":1,"proto":"tcp"}]}`,
				} {
					want[id] = value
				}
				if r := ask(zeekbus.QuestionValue, "Site::large"); r.OK || !strings.HasPrefix(r.Text, "its value is too large to be shown: 12582914 bytes") {
					t.Errorf("large: %+.100v", r)
				}
				if r := ask(zeekbus.QuestionValue, "Site::f"); !r.OK || !strings.HasPrefix(r.Text, `"Site::f: function(a:count) : count`) {
					t.Errorf("function: %+v", r)
				}
			}
			got := map[string]string{}
			for id := range want {
				r := ask(zeekbus.QuestionValue, id)
				got[id] = r.Text
				if !r.OK {
					got[id] = "! " + r.Text
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			c.stop()
		})
	}
}
