package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
)

// faultKind is what a process ended of, as far as it decides what would help.
type faultKind string

const (
	faultScript     faultKind = "script"
	faultCommand    faultKind = "command" // the command line
	faultInterface  faultKind = "interface"
	faultPermission faultKind = "permission"
	faultPort       faultKind = "port"
	faultFilter     faultKind = "filter"
	faultDisk       faultKind = "disk"
	faultStart      faultKind = "start"   // it could not be started at all
	faultTimeout    faultKind = "timeout" // not ready in time
	faultHung       faultKind = "hung"    // it lived, and did not answer
	faultOther      faultKind = "other"
)

// fault is why a process ended or could not be started.
type fault struct {
	Kind faultKind
	// Text is for a person, a phrase: "killed by SIGKILL".
	Text string
	// Permanent: trying again is of no use before something changes.
	Permanent bool
	// Tail are the last lines that it wrote.
	Tail []string
	// Since is when it ceased to work, of faultHung.
	Since time.Time
}

// symptom is one row of the table of what Zeek says before it exits with status 1 (decisions 32):
// the status itself stands for all of them.
type symptom struct {
	says      *regexp.Regexp
	kind      faultKind
	permanent bool
	text      string // empty: the line itself
}

// symptoms, the most telling first: a permission that is missing shows as a problem with an interface.
func symptoms() []symptom {
	re := func(s string) *regexp.Regexp { return regexp.MustCompile("(?i)" + s) }
	return []symptom{
		{re(`problem with interface.*(not permitted|CAP_NET_RAW|permission)`), faultPermission, true,
			"no permission to capture: run zeekrec as root, or give the program the capability: setcap cap_net_raw,cap_net_admin=eip "},
		{re(`problem with interface.*(is not up|network is down|interface is down|went down)`), faultInterface, true, ""},
		{re(`problem with interface`), faultInterface, true, ""},
		{re(`(address already in use|failed to setup prometheus|failed to (bind|listen))`), faultPort, false, ""},
		{re(`(bad pcap filter|can't compile filter|failed to compile (the )?(pcap |packet )?filter|invalid.*pcap filter)`), faultFilter, true, ""},
		{re(`(safe_write error|no space left on device|disk quota exceeded)`), faultDisk, false, ""},
		{re(`(syntax error|can't (find|open) |unknown identifier|failed to open package|error in .*, lines? \d+)`), faultScript, true, ""},
		{re(`(unrecognized option|option \S+ requires an argument|only a single interface option|type of packet source .* not recognized)`), faultCommand, true, ""},
	}
}

// classify says in words how a process ended, from its exit and from what it wrote to stderr.
// What it wrote is only taken for the whole truth of a process that never became ready: later, an error in
// a script is a line among others. binary is the program, for the advice on permissions.
func classify(exit process.Exit, wasReady bool, tail []string, binary string) *fault {
	f := &fault{Kind: faultOther, Text: exit.String(), Tail: tail}
	if exit.Signal == unix.SIGABRT {
		if s, line := diagnose(tail); s != nil && s.kind == faultDisk {
			f.Kind, f.Text = faultDisk, exit.String()+": "+line
		}
		return f
	}
	// Text on stderr explains an exit of its own accord; it says nothing of a kill from outside.
	if exit.Signal != 0 || exit.Known && exit.Status == 0 {
		return f
	}
	s, line := diagnose(tail)
	if s == nil {
		if line := lastError(tail, exit.Known); line != "" {
			f.Text += ": " + line
		}
		return f
	}
	// Of an adopted process the status is unknown, and the text may be old: it is tried again.
	f.Kind, f.Permanent = s.kind, s.permanent && exit.Known && !wasReady
	if s.text != "" {
		line = s.text + binary
	}
	f.Text += ": " + line
	return f
}

// diagnose finds the most telling symptom and the line that shows it.
func diagnose(tail []string) (*symptom, string) {
	for _, s := range symptoms() {
		for _, line := range tail {
			if s.says.MatchString(line) {
				return &s, line
			}
		}
	}
	return nil, ""
}

// lastError is the last line that speaks of an error; where there is none, and any line will do, the last.
func lastError(tail []string, anyLine bool) string {
	for i := len(tail) - 1; i >= 0; i-- {
		if l := strings.ToLower(tail[i]); strings.Contains(l, "error") || strings.Contains(l, "fatal") {
			return tail[i]
		}
	}
	if len(tail) == 0 || !anyLine {
		return ""
	}
	return tail[len(tail)-1]
}

// unstartable is the fault of a process that could not even be started.
func unstartable(err error) *fault {
	f := &fault{Kind: faultStart, Text: err.Error()}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		f.Kind = faultDisk
	}
	return f
}

const (
	tailBytes = 64 << 10
	tailLines = 20
	tailWidth = 500 // bytes of a line
	// startMark begins the line that each start adds to stderr.
	startMark = "# "
)

// lastOutput returns the last lines that the present process wrote to its stderr: none from before its
// start, and not the line that marks it.
func lastOutput(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	lines := strings.Split(string(bytes.ToValidUTF8(bytes.TrimSpace(b), []byte("?"))), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], startMark) && strings.Contains(lines[i], " zeekrec: started ") {
			lines = lines[i+1:]
			break
		}
	}
	var out []string
	for _, l := range lines {
		if l = strings.TrimRight(l, "\r"); strings.TrimSpace(l) != "" && !strings.HasPrefix(l, startMark) {
			if len(l) > tailWidth {
				l = strings.ToValidUTF8(l[:tailWidth], "") + "…"
			}
			out = append(out, l)
		}
	}
	return out[max(0, len(out)-tailLines):]
}
