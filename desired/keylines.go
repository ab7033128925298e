package desired

import "slices"

// KeyLines has the line of each key that a section states. There are few of them, and one list for every node of a fleet: a map would
// take more than all else that is known of a node.
type KeyLines []KeyLine

// KeyLine is where a key is stated.
type KeyLine struct {
	Key  string
	Line int
}

// Line of a key; 0 and false where it was not stated.
func (k KeyLines) Line(key string) (line int, stated bool) {
	if i := k.index(key); i >= 0 {
		return k[i].Line, true
	}
	return 0, false
}

// Set notes that a key is stated, or is stated elsewhere.
func (k *KeyLines) Set(key string, line int) {
	if i := k.index(key); i >= 0 {
		(*k)[i].Line = line
		return
	}
	*k = append(*k, KeyLine{key, line})
}

// Delete notes that a key is not stated.
func (k *KeyLines) Delete(key string) {
	if i := k.index(key); i >= 0 {
		*k = slices.Delete(*k, i, i+1)
	}
}

func (k KeyLines) index(key string) int {
	return slices.IndexFunc(k, func(l KeyLine) bool { return l.Key == key })
}
