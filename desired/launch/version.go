package launch

import (
	"fmt"
	"strconv"
	"strings"
)

// Version of Zeek: what zeekrec has to know of it is its first two numbers.
type Version struct{ Major, Minor int }

// Oldest is the oldest Zeek that zeekrec runs: the ZeroMQ backend came with 8.0 in the form it has.
var Oldest = Version{8, 0}

// ParseVersion reads "8.2.2", "9.1.0-dev.12" and the like.
func ParseVersion(s string) (Version, error) {
	f := strings.SplitN(s, ".", 3)
	if len(f) < 2 {
		return Version{}, fmt.Errorf("cannot read %q as a version of Zeek", s)
	}
	major, err1 := strconv.Atoi(f[0])
	minor, err2 := strconv.Atoi(strings.SplitN(f[1], "-", 2)[0])
	if err1 != nil || err2 != nil || major < 0 || minor < 0 {
		return Version{}, fmt.Errorf("cannot read %q as a version of Zeek", s)
	}
	v := Version{major, minor}
	if v.Before(Oldest.Major, Oldest.Minor) {
		return v, fmt.Errorf("cannot use Zeek %s: 8.0 is the oldest that zeekrec runs", s)
	}
	return v, nil
}

// Before reports whether v is older than major.minor.
func (v Version) Before(major, minor int) bool {
	return v.Major < major || v.Major == major && v.Minor < minor
}
