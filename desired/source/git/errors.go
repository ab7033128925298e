package git

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zeekrec/zeekrec/desired/source"
)

// The kinds of errors of a repository, beside those of package source.
const (
	Unreachable  source.Kind = "unreachable"  // no answer, or the connection broke
	Unauthorized source.Kind = "unauthorized" // the credentials, or the lack of any
	UnknownHost  source.Kind = "unknown-host" // the server's key or certificate is not one to trust
	NoSuchRef    source.Kind = "no-such-ref"  // the branch, tag, commit or folder is not there
	Corrupt      source.Kind = "corrupt"      // objects are missing or damaged
	Unsigned     source.Kind = "unsigned"     // no signature that counts
	Misused      source.Kind = "misused"      // a setting that cannot work
)

// asError explains what went wrong with a repository. The text of what does not change is the same each time.
func asError(u URL, err error) *source.Error {
	if e, ok := errors.AsType[*source.Error](err); ok {
		return e
	}
	e := &source.Error{Subject: "the source " + u.String(), Kind: Unreachable, Why: oneLine(err.Error()), Err: err}
	var (
		keyErr     *knownhosts.KeyError
		unknownCA  x509.UnknownAuthorityError
		badName    x509.HostnameError
		badCert    x509.CertificateInvalidError
		dns        *net.DNSError
		noFile     = errors.Is(err, os.ErrNotExist)
		stillThere = errors.Is(err, syscall.ECONNREFUSED)
	)
	switch {
	case errors.As(err, &keyErr) && len(keyErr.Want) > 0:
		e.Kind, e.Why = UnknownHost, "the server's key is another than the one in known_hosts"
		e.Hint = "somebody may be in between; if the server did change its key, verify the new one and replace it in the file"
	case errors.As(err, &keyErr):
		e.Kind, e.Why = UnknownHost, "the server's key is in no known_hosts file"
		e.Hint = "verify it, and add it: ssh-keyscan HOST"
	case errors.As(err, &unknownCA), errors.As(err, &badName), errors.As(err, &badCert):
		e.Kind, e.Hint = UnknownHost, "name the CA that signed the server's certificate with --git-ca-bundle"
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		strings.Contains(err.Error(), "unable to authenticate"):
		e.Kind, e.Why = Unauthorized, "the server does not accept the credentials, or wants some"
		e.Hint = "see --git-token-file and --git-ssh-key"
	case errors.Is(err, transport.ErrRepositoryNotFound):
		e.Kind, e.Why, e.Hint = source.Missing, "there is no such repository, or it is not for these credentials", "put it back, or mend the URL"
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		e.Kind, e.Why, e.Hint = NoSuchRef, refText(u.Ref)+" is not there: the repository has no branch and no tag", "push it again"
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		e.Kind, e.Why, e.Hint = NoSuchRef, refText(u.Ref)+" is not there", "push it again, or name another with ?ref="
	case errors.Is(err, plumbing.ErrObjectNotFound), errors.Is(err, packfile.ErrMalformedPackFile), errors.Is(err, packfile.ErrInvalidObject),
		errors.Is(err, packfile.ErrBadSignature), errors.Is(err, packfile.ErrEmptyPackfile), errors.Is(err, packfile.ErrZLib):
		e.Kind, e.Why = Corrupt, "objects of it are missing or damaged: "+oneLine(err.Error())
		e.Hint = "see what git fsck says of it"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Why, e.Hint = source.Unreadable, "there is no room to fetch it", "make some where the state folder is"
	case errors.Is(err, os.ErrPermission):
		e.Kind, e.Why, e.Hint = source.Unreadable, "permission denied", "let zeekrec's user read it"
	case noFile && u.Scheme == "file":
		e.Kind, e.Why, e.Hint = source.Missing, "it does not exist, or is no repository", "put it back, or mount the disk that it is on"
	case errors.As(err, &dns):
		e.Why, e.Hint = "the name of its host cannot be resolved", "see the URL, and whether DNS works"
	case stillThere:
		e.Why, e.Hint = "nobody listens there", "see whether the server runs"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind, e.Why, e.Hint = source.Unresponsive, "it does not answer in time", "see the server and the network"
	case u.Scheme == "file":
		e.Kind, e.Hint = Corrupt, "see what git fsck says of it"
	}
	return e
}

func refText(ref string) string {
	switch {
	case ref == "":
		return "its HEAD"
	case plumbing.IsHash(ref):
		return "commit " + ref
	}
	return fmt.Sprintf("the branch or tag %q", ref)
}

// oneLine makes what a server said fit for a status: one line, printable, not long.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return strings.TrimSpace(s)
}
