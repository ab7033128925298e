package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// What signatures begin with.
const (
	sshArmor  = "-----BEGIN SSH SIGNATURE-----"
	pgpArmor  = "-----BEGIN PGP SIGNATURE-----"
	pgpOther  = "-----BEGIN PGP MESSAGE-----"
	x509Armor = "-----BEGIN SIGNED MESSAGE-----"
)

// signed is a commit or a tag.
type signed interface {
	EncodeWithoutSignature(o plumbing.EncodedObject) error
}

// verify says who signed a commit, or the annotated tag that leads to it. The error says why nobody who counts did.
func (s Signers) verify(c *object.Commit, tag *object.Tag) (signer string, err error) {
	if tag != nil && tag.PGPSignature != "" {
		if signer, err = s.check(tag, tag.PGPSignature, tag.Tagger.When); err == nil {
			return signer + " (the tag " + clean(tag.Name, 60) + ")", nil
		}
		if c.PGPSignature == "" {
			return "", fmt.Errorf("the commit is not signed, and of its tag: %w", err)
		}
	}
	if c.PGPSignature == "" {
		return "", errors.New("it is not signed")
	}
	return s.check(c, c.PGPSignature, c.Committer.When)
}

// check tells who made a signature, at the time that the commit or tag states.
func (s Signers) check(o signed, signature string, at time.Time) (string, error) {
	m := &plumbing.MemoryObject{}
	if err := o.EncodeWithoutSignature(m); err != nil {
		return "", err
	}
	rd, err := m.Reader()
	if err != nil {
		return "", err
	}
	defer rd.Close()
	signature = strings.TrimSpace(signature)
	switch {
	case strings.HasPrefix(signature, sshArmor):
		return s.checkSSH(rd, signature, at)
	case strings.HasPrefix(signature, pgpArmor), strings.HasPrefix(signature, pgpOther):
		return s.checkPGP(rd, signature, at)
	case strings.HasPrefix(signature, x509Armor):
		return "", errors.New("it is signed with X.509, which is not known here; sign with SSH or OpenPGP")
	}
	return "", errors.New("its signature is of no known kind")
}

func (s Signers) checkSSH(message io.Reader, signature string, at time.Time) (string, error) {
	if s.AllowedSigners == "" {
		return "", errors.New("it is signed with SSH, and no file of allowed signers is set")
	}
	sig, err := sshsig.Unarmor([]byte(signature))
	if err != nil {
		return "", fmt.Errorf("its SSH signature cannot be read: %w", err)
	}
	b, err := readSmall(s.AllowedSigners)
	if err != nil {
		return "", fmt.Errorf("the allowed signers cannot be read: %w", err)
	}
	all, err := parseAllowed(b)
	if err != nil {
		return "", fmt.Errorf("the allowed signers in %s cannot be used: %w", s.AllowedSigners, err)
	}
	fingerprint := ssh.FingerprintSHA256(sig.PublicKey)
	// git signs with this hash; the other is OpenSSH's own choice of old.
	if err := sshsig.Verify(message, sig, sig.PublicKey, sig.HashAlgorithm, "git"); err != nil {
		return "", fmt.Errorf("its SSH signature by %s is not good: %w", fingerprint, err)
	}
	why := fmt.Sprintf("it is signed by the SSH key %s, which is not among the allowed signers", fingerprint)
	for _, a := range all {
		if !bytes.Equal(a.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if why = a.unfit(at); why == "" {
			return a.principals + " (SSH " + fingerprint + ")", nil
		}
	}
	return "", errors.New(why)
}

func (s Signers) checkPGP(message io.Reader, signature string, at time.Time) (string, error) {
	if s.OpenPGPKeys == "" {
		return "", errors.New("it is signed with OpenPGP, and no file of OpenPGP keys is set")
	}
	if strings.Count(signature, "-----BEGIN PGP") > 1 {
		return "", errors.New("it has several signatures")
	}
	b, err := readSmall(s.OpenPGPKeys)
	if err != nil {
		return "", fmt.Errorf("the OpenPGP keys cannot be read: %w", err)
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(b))
	if bytes.Contains(b, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		keys, err = openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
	}
	if err != nil {
		return "", fmt.Errorf("the OpenPGP keys in %s cannot be used: %w", s.OpenPGPKeys, err)
	}
	// Keys that have expired since still count for what they signed before; those that were revoked do not.
	who, err := openpgp.CheckArmoredDetachedSignature(keys, message, strings.NewReader(signature), nil)
	if err != nil {
		return "", fmt.Errorf("its OpenPGP signature does not count: %w", err)
	}
	name := "somebody"
	if id := who.PrimaryIdentity(); id != nil {
		name = clean(id.Name, 120)
	}
	return fmt.Sprintf("%s (OpenPGP %X)", name, who.PrimaryKey.Fingerprint), nil
}

// allowed is one line of a file of allowed signers.
type allowed struct {
	principals    string
	key           ssh.PublicKey
	namespaces    []string // nil: any
	after, before time.Time
}

// unfit says why a line does not count for a commit of that time; empty: it does.
func (a *allowed) unfit(at time.Time) string {
	who := a.principals
	switch {
	case a.namespaces != nil && !slices.Contains(a.namespaces, "git"):
		return "it is signed by " + who + ", whose key is not for git (namespaces)"
	case !a.after.IsZero() && at.Before(a.after):
		return "it is signed by " + who + ", whose key counts from " + a.after.Format(time.DateOnly) + " on"
	case !a.before.IsZero() && !at.Before(a.before):
		return "it is signed by " + who + ", whose key counted until " + a.before.Format(time.DateOnly)
	}
	return ""
}

// parseAllowed reads a file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS). What it does not know is an error: a line that
// was passed over might have been one that shuts somebody out.
func parseAllowed(b []byte) ([]allowed, error) {
	var out []allowed
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxSecret)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, err := parseSigner(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, a)
	}
	return out, sc.Err()
}

func parseSigner(line string) (allowed, error) {
	a := allowed{}
	rest := ""
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		a.principals, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return a, errors.New("a quote is not closed")
		}
	} else if i := strings.IndexAny(line, " \t"); i > 0 {
		a.principals, rest = line[:i], line[i:]
	}
	a.principals = clean(a.principals, 120)
	if a.principals == "" {
		return a, errors.New("it has no principals")
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(rest)))
	if err != nil {
		return a, errors.New("it has no public key that can be read")
	}
	a.key = key
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			a.namespaces = strings.Split(value, ",")
		case "valid-after":
			a.after, err = signerTime(value)
		case "valid-before":
			a.before, err = signerTime(value)
		default:
			return a, fmt.Errorf("the option %s is not known here", name)
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// signerTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in local time, or in UTC with a Z.
func signerTime(s string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(strings.TrimSuffix(s, "z"), "Z")
	if utc || digits != s {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.ParseInLocation(layout, digits, zone)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time of the form YYYYMMDD[HHMM[SS]][Z]", s)
}
