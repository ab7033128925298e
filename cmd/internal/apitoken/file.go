package apitoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// maxFile bounds what is read, in bytes. The most tokens take a third of it.
const maxFile = 1 << 20

// formatVersion is that of the file.
const formatVersion = 1

// content is the file.
type content struct {
	FormatVersion int      `json:"format_version"`
	Tokens        []*token `json:"tokens"`
}

// Damaged says that the file cannot be used. Nothing of its content is in the text.
type Damaged struct {
	Path string
	Err  error
}

// Error names the file, what is wrong, and the way out.
func (d *Damaged) Error() string {
	return fmt.Sprintf("cannot use the tokens in %s: %v; nobody is let in with a token. Restore the file, or move it away and make new tokens, and start zeekrec again", d.Path, d.Err)
}

// Unwrap gives the cause.
func (d *Damaged) Unwrap() error { return d.Err }

// load reads the file.
func load(path string) ([]*token, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Damaged{path, err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &Damaged{path, err}
	}
	tokens, err := parse(b)
	if err != nil {
		return nil, &Damaged{path, err}
	}
	return tokens, nil
}

// parse reads the content of a file, which has to be sound in every part.
func parse(b []byte) ([]*token, error) {
	if len(b) > maxFile {
		return nil, errors.New("it is too large")
	}
	var c content
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("it cannot be understood (damaged near byte %d)", d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its content")
	}
	if c.FormatVersion != formatVersion {
		return nil, fmt.Errorf("it has format %d, and this zeekrec knows %d", c.FormatVersion, formatVersion)
	}
	if len(c.Tokens) > maxTokens {
		return nil, errors.New("it has too many tokens")
	}
	for i, t := range c.Tokens {
		if t == nil {
			return nil, fmt.Errorf("its token %d is empty", i+1)
		}
		hash, err := hex.DecodeString(t.Hash)
		switch {
		case checkName(t.Name) != nil:
			return nil, fmt.Errorf("its token %d has no proper name", i+1)
		case t.Role != api.RoleView && t.Role != api.RoleOperate:
			return nil, fmt.Errorf("its token %d has no role that there is", i+1)
		case err != nil || len(hash) != sha256.Size || t.Hash != strings.ToLower(t.Hash):
			return nil, fmt.Errorf("its token %d has no proper hash", i+1)
		case t.Expires.IsZero():
			return nil, fmt.Errorf("its token %d does not say when it expires", i+1)
		}
		t.ended = make(chan struct{})
	}
	slices.SortFunc(c.Tokens, func(a, b *token) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(c.Tokens); i++ {
		if c.Tokens[i].Name == c.Tokens[i-1].Name {
			return nil, errors.New("it has two tokens of one name")
		}
	}
	return c.Tokens, nil
}

// encode writes what parse reads.
func encode(tokens []*token) ([]byte, error) {
	b, err := json.MarshalIndent(content{formatVersion, append([]*token{}, tokens...)}, "", "  ")
	return append(b, '\n'), err
}

// save replaces the file. When it returns without an error, the new one is on disk for good.
func save(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(dir), renameio.IgnoreUmask()); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
