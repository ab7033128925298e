package render

import (
	"strings"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Agents shows who is enrolled, in the order given.
func Agents(as []api.Agent, o Options) string {
	if len(as) == 0 {
		return "no host has joined; to let one join: zeekrec agents token --name NAME\n"
	}
	var b strings.Builder
	t := table{}
	t.head("AGENT", "STATE", "SINCE", "BY", "CONNECTED", "REPORT", "CERTIFICATE ENDS", "KEY")
	for i := range as {
		a := &as[i]
		approved := a.State == "approved"
		ends, connected := "", "no"
		if a.Connected {
			connected = "yes"
		}
		if !a.Expires.IsZero() {
			ends = a.Expires.Local().Format("2006-01-02")
		}
		t.row(cell{a.Name, plain}, cell{a.State, yes(approved, good, warn)}, cell{o.clock(a.Since), plain}, cell{a.By, plain},
			cell{connected, yes(approved && !a.Connected, bad, plain)}, cell{o.ago(a.Heard), plain}, cell{ends, plain}, cell{a.Key, plain})
	}
	t.write(&b, o, true)
	return b.String()
}
