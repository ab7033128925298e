package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/zeekrec/zeekrec/desired/source"
)

// sshSession is one run of git-upload-pack on a server. go-git has a transport for this, too, but one that no context and no deadline
// ends while it connects and shakes hands: a server that says nothing would hold a look for ever.
type sshSession struct {
	conn   net.Conn
	client *ssh.Client
	run    *ssh.Session
	in     io.WriteCloser
	out    io.Reader
	said   *lastWords // stderr
	refs   *packp.AdvRefs
}

var _ transport.UploadPackSession = (*sshSession)(nil)

// dialSSH connects, proves both ends' identities and starts git-upload-pack. When ctx ends, so does the connection.
func (l *looker) dialSSH(ctx context.Context) (_ transport.UploadPackSession, err error) {
	config, err := l.sshConfig()
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeoutCause(ctx, l.opts.AskWithin, context.DeadlineExceeded)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(within, "tcp", l.url.address())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	deadline, _ := within.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, l.url.address(), config)
	if err != nil {
		return nil, err
	}
	s := &sshSession{conn: conn, client: ssh.NewClient(c, chans, reqs), said: &lastWords{}}
	run, err := s.client.NewSession()
	if err != nil {
		return nil, err
	}
	s.run, run.Stderr = run, s.said
	if s.in, err = run.StdinPipe(); err != nil {
		return nil, err
	}
	if s.out, err = run.StdoutPipe(); err != nil {
		return nil, err
	}
	if err = run.Start("git-upload-pack " + quote(sshPath(l.url.Path))); err != nil {
		return nil, err
	}
	return s, conn.SetDeadline(time.Time{}) // ctx bounds the rest
}

// sshPath is the path as git gives it to the server: ssh://host/~user/x means ~user/x.
func sshPath(p string) string {
	if strings.HasPrefix(p, "/~") {
		return p[1:]
	}
	return p
}

// quote makes one word of a shell's command line.
func quote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

// sshConfig has the key to show, and the keys of servers that are trusted: only those of known_hosts, and only by the algorithms of
// the keys in there, since a server would else show another of its keys.
func (l *looker) sshConfig() (*ssh.ClientConfig, error) {
	a := l.opts.Auth
	key, err := secret(a.SSHKeyFile, a.SSHKey, "the SSH key")
	if err == nil && key == "" {
		err = errors.New("there is no SSH key")
	}
	if err != nil {
		return nil, misuse(l.url, err, "name one with --git-ssh-key")
	}
	pass, err := secret(a.PassphraseFile, a.Pass, "the passphrase of the SSH key")
	if err != nil {
		return nil, misuse(l.url, err, "see --git-ssh-passphrase-file")
	}
	var signer ssh.Signer
	if pass != "" {
		signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(strings.TrimRight(pass, "\r\n")))
	} else {
		signer, err = ssh.ParsePrivateKey([]byte(key))
	}
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		return nil, misuse(l.url, errors.New("the SSH key needs a passphrase"), "give it with --git-ssh-passphrase-file")
	} else if err != nil {
		return nil, misuse(l.url, fmt.Errorf("cannot use the SSH key: %w", err), "it is an OpenSSH or PEM private key")
	}
	var files []string
	for _, f := range a.KnownHosts {
		if _, err := os.Stat(f); err == nil {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil, &source.Error{
			Subject: "the source " + l.url.String(), Kind: UnknownHost, Hint: "name one with --git-known-hosts: no server is trusted at first sight",
			Why: "there is no known_hosts file" + map[bool]string{true: " " + strings.Join(a.KnownHosts, " or ")}[len(a.KnownHosts) > 0],
		}
	}
	known, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, misuse(l.url, err, "mend the known_hosts file")
	}
	user := l.url.User
	if user == "" {
		user = "git"
	}
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: known.HostKeyCallback(), HostKeyAlgorithms: known.HostKeyAlgorithms(l.url.address()),
	}, nil
}

// AdvertisedReferencesContext is AdvertisedReferences: the context of dialSSH ends both.
func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	return s.AdvertisedReferences()
}

// AdvertisedReferences reads what git-upload-pack begins with.
func (s *sshSession) AdvertisedReferences() (*packp.AdvRefs, error) {
	if s.refs != nil {
		return s.refs, nil
	}
	ar := packp.NewAdvRefs()
	err := ar.Decode(io.LimitReader(s.out, maxRefs))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, packp.ErrEmptyInput) {
		_ = s.run.Wait() // it ends, and has said why by then
	}
	if said := s.said.String(); err != nil && said != "" {
		if strings.Contains(said, "not appear to be a git repository") || strings.Contains(strings.ToLower(said), "not found") {
			return nil, fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, said)
		}
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	if errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && ar.IsEmpty() {
		return nil, transport.ErrEmptyRemoteRepository
	}
	if err != nil {
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(ar.Capabilities)
	s.refs = ar
	return ar, nil
}

// UploadPack asks for the pack; it is called once.
func (s *sshSession) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var b bytes.Buffer
	if err := req.UploadRequest.Encode(&b); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(&b, true); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(&b).EncodeString("done\n"); err != nil {
		return nil, err
	}
	if _, err := s.in.Write(b.Bytes()); err != nil {
		return nil, err
	}
	res := packp.NewUploadPackResponse(req)
	return res, res.Decode(io.NopCloser(s.out))
}

// Close ends the connection.
func (s *sshSession) Close() error {
	if s.refs != nil {
		_ = pktline.NewEncoder(s.in).Flush() // nothing (more) is wanted
	}
	_ = s.client.Close()
	return s.conn.Close()
}

// lastWords keeps the beginning of what a server says on stderr.
type lastWords struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p[:min(len(p), max(0, 1000-w.b.Len()))])
	return len(p), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return oneLine(w.b.String())
}
