package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A token in print: the prefix, then in base32 (lower case, so a double click marks it as one word) the secret, the fingerprint, and the
// begin of the SHA-256 of both. 55 bytes make 88 characters without a bit to spare, so each token is written in one way only.
const (
	tokenPrefix = "zeekrec1"
	secretSize  = 20 // bytes
	sumSize     = 3
	tokenSize   = secretSize + sha256.Size + sumSize
)

var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrNoToken says that a text is no token, or that some of it was lost or changed on the way.
var ErrNoToken = errors.New("that is no token of zeekrec: copy all of it, it begins with " + tokenPrefix + " and has 96 characters")

// Token is what lets one agent join. It shows itself in no output and no log; Reveal and Secret are the only ways to its secret.
type Token struct {
	// A pointer, so that it does not even show as part of something that is printed by reflection.
	secret *[secretSize]byte
	// Fingerprint is the SHA-256 of the certificate of the controller's authority, for JoinTLS.
	Fingerprint [sha256.Size]byte
}

// newToken makes a token from fresh random numbers.
func newToken(fingerprint [sha256.Size]byte) Token {
	t := Token{secret: new([secretSize]byte), Fingerprint: fingerprint}
	_, _ = rand.Read(t.secret[:]) // never fails, crypto/rand says: the process would end first
	return t
}

// ParseToken reads a token in print. Space around it does not matter. Its one error is ErrNoToken: nothing of the text is in it, for
// the text may be a secret.
func ParseToken(s string) (Token, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok || len(body) != tokenText.EncodedLen(tokenSize) || strings.ContainsAny(body, "\r\n") { // the decoder skips line ends
		return Token{}, ErrNoToken
	}
	b, err := tokenText.DecodeString(body)
	if err != nil || len(b) != tokenSize {
		return Token{}, ErrNoToken
	}
	t := Token{secret: (*[secretSize]byte)(b), Fingerprint: [sha256.Size]byte(b[secretSize:])}
	if t.Reveal() != tokenPrefix+body {
		return Token{}, ErrNoToken
	}
	return t, nil
}

// Reveal is the token in print, with its secret. The zero Token has none.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	b := slices.Concat(t.secret[:], t.Fingerprint[:])
	sum := sha256.Sum256(append([]byte(tokenPrefix), b...))
	return tokenPrefix + tokenText.EncodeToString(append(b, sum[:sumSize]...))
}

// Secret is what Enrol asks for. The zero Token has none.
func (t Token) Secret() string {
	if t.secret == nil {
		return ""
	}
	return tokenText.EncodeToString(t.secret[:])
}

// Format writes a text without the secret, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token of the controller %x", t.Fingerprint[:6])
}

// hashOf is how a secret is kept. It has 160 random bits, so a plain hash cannot be turned back.
func hashOf(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}
