package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// ZeekClientJSON is v as zeek-client prints JSON: keys sorted, two blanks for each level, and everything beyond ASCII
// escaped. Numbers stay as they are written.
func ZeekClientJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	// Maps are written with their keys sorted.
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return "", err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(plain); err != nil {
		return "", err
	}
	return asciiOnly(buf.String()), nil
}

// ZeekClientLine is v as zeek-client prints JSON with pretty_json off: on one line, with a blank behind every comma and colon.
func ZeekClientLine(v any) (string, error) {
	text, err := ZeekClientJSON(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		b.WriteString(line)
		if strings.HasSuffix(line, ",") {
			b.WriteByte(' ')
		}
	}
	return b.String() + "\n", nil
}

// asciiOnly escapes what is not ASCII; in JSON such characters are only found in strings.
func asciiOnly(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80:
			b.WriteByte(byte(r))
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// NetStats are a node's counters of packets since it started. Its JSON form is that of zeekrec netstats --json.
type NetStats struct {
	// Time of the node's network clock, in seconds since 1970: that of the last packet while there is traffic.
	Time     float64 `json:"time"`
	Received uint64  `json:"received"`
	Dropped  uint64  `json:"dropped"`
	DropRate float64 `json:"drop_rate"` // of all that were received or dropped
	// Link counts the packets on the link; 0 where the packet source does not know.
	Link  uint64 `json:"link"`
	Bytes uint64 `json:"bytes"`
	// Filtered counts what Zeek's filter passed over; nil where the packet source does not know.
	Filtered *uint64 `json:"filtered,omitempty"`
}

// NetStatsTable shows them, sorted by name.
func NetStatsTable(by map[string]NetStats, o Options) string {
	if len(by) == 0 {
		return "no packet counters\n"
	}
	var b strings.Builder
	t := table{}
	t.head("NODE", "RECEIVED", "DROPPED", "DROP%", "LINK", "FILTERED", "BYTES")
	for _, n := range slices.Sorted(maps.Keys(by)) {
		s := by[n]
		t.row(cell{n, plain}, cell{counter(&s.Received), plain}, cell{counter(&s.Dropped), yes(s.Dropped > 0, bad, plain)},
			cell{fmt.Sprintf("%.3g", 100*s.DropRate), plain}, cell{number(int(s.Link)), plain}, cell{counter(s.Filtered), plain}, cell{Bytes(s.Bytes), plain})
	}
	t.write(&b, o, true)
	return b.String()
}
