package render

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Top shows what the processes use, in the order given.
func Top(us []api.Usage, o Options) string {
	if len(us) == 0 {
		return "nothing runs\n"
	}
	var b strings.Builder
	t := table{}
	t.head("NODE", "ROLE", "PID", "CPU%", "MEMORY", "THREADS", "PACKETS", "DROPS")
	for _, u := range us {
		t.row(cell{u.Resource, plain}, cell{u.Role, plain}, cell{number(u.PID), plain}, cell{fmt.Sprintf("%.1f", u.CPU), plain},
			cell{Bytes(u.RSS), plain}, cell{number(u.Threads), plain}, cell{counter(u.Packets), plain}, cell{drops(u), yes(u.Drops != nil && *u.Drops > 0, bad, plain)})
	}
	t.write(&b, o, true)
	return b.String()
}

func counter(n *uint64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func drops(u api.Usage) string {
	if u.Drops == nil || u.Packets == nil || *u.Drops == 0 {
		return counter(u.Drops)
	}
	return fmt.Sprintf("%d (%.2g%%)", *u.Drops, 100*float64(*u.Drops)/float64(*u.Drops+*u.Packets))
}

// Bytes in the unit that fits.
func Bytes(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
