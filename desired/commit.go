package desired

import "time"

// Commit is what is said of a commit of a Git source. All texts are one line, and printable.
type Commit struct {
	ID string `json:"id"` // in full
	// Author is "Name <mail>", as the commit states it; only a signature proves anybody.
	Author  string    `json:"author"`
	At      time.Time `json:"at,omitzero"` // when it was committed
	Subject string    `json:"subject,omitempty"`
	// Signer is who signed it, where that was asked for and found to be one of those who count.
	Signer string `json:"signer,omitempty"`
	// Base is the commit that it was compared with; empty: with none. Descends says that Base is in its history, or empty.
	Base     string `json:"base,omitempty"`
	Descends bool   `json:"descends,omitempty"`
	// Passed are the commits between Base and this one, oldest first: they were never looked at by themselves. Of very many the
	// newest; More says how many are left out.
	Passed []Commit `json:"passed,omitempty"`
	More   int      `json:"more,omitempty"`
}

// Short is the beginning of the commit's ID, as people write it.
func (c *Commit) Short() string { return ShortCommit(c.ID) }

// Alone is the commit without what lies before it; nil for nil.
func (c *Commit) Alone() *Commit {
	if c == nil {
		return nil
	}
	a := *c
	a.Passed, a.More = nil, 0
	return &a
}

// String is "1a2b3c4d5e6f by Name <mail>".
func (c *Commit) String() string { return c.Short() + " by " + c.Author }

// ShortCommit is the beginning of a commit's ID.
func ShortCommit(id string) string { return id[:min(len(id), 12)] }
