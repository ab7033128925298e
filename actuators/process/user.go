package process

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// LookupUser returns what it takes to become a user, with all groups; nil where that takes nothing: for
// an empty name, and for whoever zeekrec runs as.
func LookupUser(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	c, err := lookupUser(name)
	if err != nil {
		return nil, fmt.Errorf("cannot become user %q: %w", name, err)
	}
	return c, nil
}

func lookupUser(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := parseID(u.Uid)
	gid, err2 := parseID(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("zeekrec itself does not run as root")
	}
	c := &syscall.Credential{Uid: uid, Gid: gid}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		n, err := parseID(id)
		if err != nil {
			return nil, err
		}
		c.Groups = append(c.Groups, n)
	}
	return c, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
