package agent

import (
	"net"
	"slices"
	"strings"
)

// link is what is known of a network interface.
type link struct {
	Index int
	Up    bool
}

// links are the machine's interfaces at one moment, by name; nil: they could not be listed, which is no news.
type links map[string]link

func listLinks(list func() ([]net.Interface, error)) links {
	all, err := list()
	if err != nil {
		return nil
	}
	out := make(links, len(all))
	for _, i := range all {
		out[i.Name] = link{Index: i.Index, Up: i.Flags&net.FlagUp != 0}
	}
	return out
}

func (l links) names() []string {
	out := make([]string, 0, len(l))
	for n := range l {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// device is the network interface that a -i argument stands for; empty where it is none that could be
// watched: other packet sources give names a meaning of their own.
func device(arg string) string {
	for _, prefix := range []string{"af_packet::", "pcap::"} {
		if dev, ok := strings.CutPrefix(arg, prefix); ok {
			return dev
		}
	}
	if strings.Contains(arg, "::") {
		return ""
	}
	return arg
}

// trouble says what is wrong with an interface; empty for nothing.
func (l links) trouble(dev string) string {
	if dev == "" || dev == "any" || l == nil {
		return ""
	}
	now, ok := l[dev]
	switch {
	case !ok:
		return "interface " + dev + " does not exist"
	case !now.Up:
		return "interface " + dev + " is down"
	}
	return ""
}

// watch follows the interface that one process captures on (decisions 31: Zeek itself does not notice).
type watch struct {
	dev   string
	index int // that the process captures on
	gone  bool
	down  bool
}

// verdict of a look at the interface.
type verdict struct {
	kind string // of the event; empty where nothing has changed
	text string
	// replace: it is back as another one, on which the process sees nothing.
	replace bool
}

// look compares with what was seen before.
func (w *watch) look(now links) verdict {
	if w.dev == "" || w.dev == "any" || now == nil {
		return verdict{}
	}
	l, there := now[w.dev]
	switch {
	case !there:
		if w.gone {
			return verdict{}
		}
		w.gone = true
		return verdict{kind: "interface-gone", text: "interface " + w.dev + " is gone"}
	case !l.Up:
		if w.down {
			return verdict{}
		}
		w.down = true
		if w.gone || w.index != 0 && l.Index != w.index {
			w.gone = true // made anew; not yet up
			return verdict{}
		}
		return verdict{kind: "interface-down", text: "interface " + w.dev + " is down"}
	case w.gone || w.index != 0 && l.Index != w.index:
		w.index, w.gone, w.down = l.Index, false, false
		return verdict{kind: "interface-back", text: "interface " + w.dev + " is back: its worker is restarted", replace: true}
	case w.down:
		w.down = false
		return verdict{kind: "interface-up", text: "interface " + w.dev + " is up again"}
	}
	w.index = l.Index
	return verdict{}
}

// trouble is why the process captures nothing.
func (w *watch) trouble() string {
	switch {
	case w.gone:
		return "interface " + w.dev + " is gone"
	case w.down:
		return "interface " + w.dev + " is down"
	}
	return ""
}
