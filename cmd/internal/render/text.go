package render

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// Options of rendering.
type Options struct {
	// Color: the output goes to a terminal, and colour is wanted there.
	Color bool
	// Now is what ages are reckoned from.
	Now time.Time
	// Location of the times shown; nil: local time.
	Location *time.Location
}

// tone is what a piece of text is about. Its colour only repeats what the text says.
type tone int

const (
	plain tone = iota
	good
	warn
	bad
	added
	changed
	faint
	strong
)

// paint colours a text, or leaves it as it is.
func (o Options) paint(t tone, s string) string {
	if !o.Color || s == "" || t == plain {
		return s
	}
	st := lipgloss.NewStyle()
	switch t {
	case good, added:
		st = st.Foreground(lipgloss.Color("2"))
	case warn, changed:
		st = st.Foreground(lipgloss.Color("3"))
	case bad:
		st = st.Foreground(lipgloss.Color("1"))
	case faint:
		st = st.Faint(true)
	case strong:
		st = st.Bold(true)
	}
	return st.Render(s)
}

// cell is one field of a table.
type cell struct {
	text string
	tone tone
}

// table lays rows out in columns that are two blanks apart. The last column is not padded; one that is
// empty everywhere is left out.
type table struct {
	indent string
	rows   [][]cell
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

// head adds a row of column names.
func (t *table) head(names ...string) {
	cells := make([]cell, 0, len(names))
	for _, n := range names {
		cells = append(cells, cell{n, faint})
	}
	t.row(cells...)
}

// write lays the table out. headed says that the first row has names, which do not keep a column alive.
func (t *table) write(b *strings.Builder, o Options, headed bool) {
	var width []int
	var used []bool
	for r, row := range t.rows {
		for i, c := range row {
			if i == len(width) {
				width, used = append(width, 0), append(used, false)
			}
			width[i] = max(width[i], lipgloss.Width(c.text))
			used[i] = used[i] || c.text != "" && (!headed || r > 0)
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		line.WriteString(t.indent)
		pad := 0
		for i, c := range row {
			if !used[i] {
				continue
			}
			if c.text != "" {
				line.WriteString(strings.Repeat(" ", pad))
				line.WriteString(o.paint(c.tone, c.text))
				pad = 0
			}
			pad += width[i] - lipgloss.Width(c.text) + 2
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
}

// Duration in words, as coarse as a person would say it: "3 s", "4 min", "2 h 10 min", "3 d".
func Duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 24*time.Hour:
		if m := int(d/time.Minute) % 60; m > 0 {
			return fmt.Sprintf("%d h %d min", int(d/time.Hour), m)
		}
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d d", int(d/(24*time.Hour)))
}

// ago is the age of a time; "never" for none.
func (o Options) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if d := o.Now.Sub(t); d >= time.Second {
		return Duration(d) + " ago"
	}
	return "just now"
}

// clock is a time as a person reads it: without the date where it is today.
func (o Options) clock(t time.Time) string {
	loc := o.Location
	if loc == nil {
		loc = time.Local
	}
	t, now := t.In(loc), o.Now.In(loc)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// count is "1 node", "2 nodes".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// short is a revision as it is shown; it is long enough to be used in commands.
func short(rev string) string {
	if rev == "" {
		return "none"
	}
	return rev
}
