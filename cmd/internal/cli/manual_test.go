package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestManualPage(t *testing.T) {
	root := &cobra.Command{Use: "zeekrec", Short: "Keep it"}
	c := &cobra.Command{
		Use:     "do THING",
		Short:   "Do it, at once",
		Long:    "Do it.\n.cfg files are read,\nit's \\n.\n\nThen:\n  [a]\n  b = \"c\"\nand so on.",
		Example: "  zeekrec do --how well x\n  zeekrec do .",
		Run:     func(*cobra.Command, []string) {},
	}
	c.Flags().StringP("how", "w", "well", "`WAY` to do it")
	c.Flags().Bool("twice", false, "do it again")
	c.Flags().Bool("secret", false, "not shown")
	if err := c.Flags().MarkHidden("secret"); err != nil {
		t.Fatal(err)
	}
	root.AddCommand(c)
	want := `.TH "ZEEKREC\-DO" "1" "" "zeekrec" "zeekrec"
.SH "NAME"
zeekrec\-do \- do it, at once
.SH "SYNOPSIS"
zeekrec do THING [OPTIONS]
.SH "DESCRIPTION"
Do it.
\&.cfg files are read,
it's \en.
.PP
Then:
.nf
  [a]
  b = "c"
.fi
and so on.
.SH "EXAMPLES"
.RS 4
.nf
zeekrec do \-\-how well x
zeekrec do .
.fi
.RE
.SH "OPTIONS"
.TP
\fB\-w,\ \-\-how\fR \fIWAY\fR
WAY to do it (default: "well")
.TP
\fB\-\-twice\fR
do it again
.SH "SEE ALSO"
zeekrec(1)
`
	if d := cmp.Diff(want, manualPage(c)); d != "" {
		t.Error(d)
	}
}

// TestManual: each command and each of its options has its place, and nothing in it is of this machine. Where there is a groff, it
// understands all of it.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	if err := writeManual(dir); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	text := all.String()
	for _, want := range []string{
		`zeekrec\-agent\-join \- enrol this host with a controller`, `\fB\-\-stop\-on\-exit\fR`, `\fB\-\-state\-dir\fR \fIDIR\fR`,
		`(default: agent\- and the host's name)`, "process\\-backend", "\n\\fB64\\fR\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the manual does not have %q", want)
		}
	}
	if len(host) > 3 && strings.Contains(text, host) {
		t.Errorf("the manual names this machine, %s", host)
	}
	for _, hidden := range []string{"zeekrec-manual.1", "zeekrec-help.1", "zeekrec-exec-node.1"} {
		if _, err := os.Stat(filepath.Join(dir, "man1", hidden)); err == nil {
			t.Errorf("%s is for nobody", hidden)
		}
	}
	for _, name := range []string{"zeekrec.bash", "zeekrec.fish", "_zeekrec"} {
		if b, err := os.ReadFile(filepath.Join(dir, "completions", name)); err != nil || !strings.Contains(string(b), "__complete") {
			t.Errorf("the completion %s asks nobody: %v", name, err)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		return
	}
	c := exec.Command(groff, append([]string{"-man", "-K", "utf8", "-T", "utf8", "-ww", "-z"}, pages...)...)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v, %s", err, out)
	}
}
