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
	t.head("NODE", "ROLE", "PID", "CPU%", "LOOP%", "MEMORY", "THREADS", "PACKETS", "PACKETS/S", "DROPS", "DEGRADED")
	for i := range us {
		u := &us[i]
		t.row(cell{u.Resource, plain}, cell{u.Role, plain}, cell{number(u.PID), plain}, cell{fmt.Sprintf("%.1f", u.CPU), plain},
			cell{decimal(u.MainLoop), plain}, cell{Bytes(u.RSS), plain}, cell{number(u.Threads), plain}, cell{counter(u.Packets), plain},
			cell{decimal(u.PacketRate), plain}, cell{drops(u), yes(u.DropRate != nil && *u.DropRate > 0, bad, plain)}, cell{firstOf(u.Degraded), warn})
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

func decimal(f *float64) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%.1f", *f)
}

// drops since the start, and the share of the last minute's packets.
func drops(u *api.Usage) string {
	if u.Drops == nil || u.DropRate == nil || *u.DropRate == 0 {
		return counter(u.Drops)
	}
	return fmt.Sprintf("%d (%.2g%%)", *u.Drops, 100**u.DropRate)
}

// firstOf several reasons, and how many more there are.
func firstOf(reasons []string) string {
	switch n := len(reasons); n {
	case 0:
		return ""
	case 1:
		return reasons[0]
	default:
		return fmt.Sprintf("%s (and %d more)", reasons[0], n-1)
	}
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
