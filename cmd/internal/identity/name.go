package identity

import (
	"errors"
	"strings"
)

// maxName bounds a name, in bytes.
const maxName = 200

// CheckName says why a name is none for an agent: it has 1 to 200 letters, digits, '.', '_' and '-', of ASCII, and begins with a
// letter, a digit or '_'. So it is safe as the name of a file and in a line of text.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of an agent cannot be empty")
	case len(name) > maxName:
		return errors.New("the name of an agent has at most 200 bytes")
	case name[0] == '.' || name[0] == '-':
		return errors.New("the name of an agent cannot begin with '.' or '-'")
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}):
		return errors.New("the name of an agent has only letters, digits, '.', '_' and '-'")
	}
	return nil
}
