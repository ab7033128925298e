package launch

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// membersScript lets a node follow the table of its cluster's nodes. Zeek 8.0 to 9.1 have what it relies on of the
// cluster framework without a difference.
//
//go:embed zeek/zeekrec-members.zeek
var membersScript string

// MembersFile is the table that the node of that folder (Place.NodeDir) follows where its membership is live. Whoever
// starts the node writes Members there before, and again whenever they change: in one piece, and so that the time of the
// last change differs by a second at least, since that and the inode are what Zeek looks at.
func MembersFile(nodeDir string) string { return filepath.Join(nodeDir, "members.tsv") }

// Members is the content of MembersFile: all nodes of the cluster, the one that reads it too. Processes that an older
// zeekrec started read it as well, so columns may be added, and none changed.
func Members(l desired.Layout) []byte {
	var b strings.Builder
	b.WriteString("#fields\tname\trole\taddress\tp\tmetrics_port\n")
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%d\t%d\n", field(n.Name), n.Role, field(n.Address), n.Port, n.MetricsPort)
	}
	return []byte(b.String())
}

// field of a line, as Zeek's input framework reads it: what separates fields or begins a comment is escaped.
func field(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == '\\' || c == '#' && i == 0 {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
