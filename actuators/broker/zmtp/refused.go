package zmtp

import "fmt"

// RefusedError is a peer that is not let in. It is not to be told why.
type RefusedError struct {
	// Reason is one of a few words, fit for counting: garbage, version, mechanism, protocol, too-large, socket-type, key, error.
	Reason string
	Text   string // more of it, for people; nothing secret is in it
}

// Error says it for people.
func (e *RefusedError) Error() string { return fmt.Sprintf("refused (%s): %s", e.Reason, e.Text) }

func refuse(reason, text string) error { return &RefusedError{reason, text} }
