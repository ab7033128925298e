package render

import (
	"strings"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Tokens shows who may ask from other machines, in the order given.
func Tokens(ts []api.Token, o Options) string {
	if len(ts) == 0 {
		return "there are no tokens; to make one: zeekrec tokens new NAME --role view\n"
	}
	var b strings.Builder
	t := table{}
	t.head("NAME", "ROLE", "SINCE", "BY", "LAST USED", "EXPIRES")
	for i := range ts {
		k := &ts[i]
		expired := !o.Now.Before(k.Expires)
		expires := k.Expires.Local().Format("2006-01-02 15:04")
		if expired {
			expires += ", expired"
		}
		t.row(cell{k.Name, plain}, cell{string(k.Role), plain}, cell{o.clock(k.Since), plain}, cell{k.By, plain},
			cell{o.ago(k.Used), plain}, cell{expires, yes(expired, bad, plain)})
	}
	t.write(&b, o, true)
	return b.String()
}
