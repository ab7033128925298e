package local

import (
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/journald"
)

// Where what nodes write to stdout and stderr goes.
const (
	OutputAuto    = "auto"    // both where this machine has a journal, else files
	OutputFiles   = "files"   // files in the state folder
	OutputJournal = "journal" // systemd's journal; files have the last of it, which zeekrec reads itself
	OutputBoth    = "both"
)

// Outputs are those that can be asked for.
func Outputs() []string { return []string{OutputAuto, OutputFiles, OutputJournal, OutputBoth} }

// outputTo returns where to send lines, nil for nowhere, and whether files are to be small.
func outputTo(kind string) (to journald.Sender, only bool, err error) {
	here := journald.Here()
	switch {
	case kind == OutputFiles || !here && (kind == OutputAuto || kind == ""):
		return nil, false, nil
	case !here:
		return nil, false, fmt.Errorf("cannot send what nodes write to the journal: this machine has none; without --node-output %s it stays in files", kind)
	}
	return &journald.Daemon{}, kind == OutputJournal, nil
}
