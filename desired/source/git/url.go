package git

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// A URL says which commit of which repository is meant, and which folder in it. It holds no secret.
type URL struct {
	// Scheme is https, http, ssh or file.
	Scheme string
	User   string // of ssh, default "git"; of http(s) where a server wants a certain one
	Host   string // with the port where one was stated
	Path   string // of the repository; absolute for file
	// Ref is a branch, a tag, a full ref or a commit; empty: the repository's HEAD.
	Ref string
	// Folder in the repository that holds the cluster files, "" for its root.
	Folder string
}

// scpLike is git's short form of ssh: user@host:path. A host has no slash, which tells it from a path.
var scpLike = regexp.MustCompile(`^(?:([A-Za-z0-9._-]+)@)([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):([^?].*)$`)

// IsURL reports whether an argument names a repository, not a folder or a file.
func IsURL(arg string) bool {
	return strings.Contains(arg, "://") || scpLike.MatchString(arg)
}

// Parse reads a URL with the parameters ref and path: https://HOST/PATH?ref=BRANCH&path=SUBDIR. It refuses a password, since
// arguments are seen by everybody on the machine.
func Parse(arg string) (URL, error) {
	u, err := parse(arg)
	if err != nil {
		return URL{}, fmt.Errorf("cannot use %q as a source: %w", redact(arg), err)
	}
	return u, nil
}

func parse(arg string) (URL, error) {
	rest, query, _ := strings.Cut(arg, "?")
	var u URL
	if m := scpLike.FindStringSubmatch(rest); m != nil && !strings.Contains(rest, "://") {
		u = URL{Scheme: "ssh", User: m[1], Host: m[2], Path: m[3]}
	} else {
		p, err := url.Parse(rest)
		if err != nil {
			return u, errors.Unwrap(err)
		}
		if _, ok := p.User.Password(); ok {
			return u, errors.New("it holds a password, which everybody on this machine could read; use --git-token-file or ZEEKREC_GIT_TOKEN")
		}
		u = URL{Scheme: p.Scheme, User: p.User.Username(), Host: p.Host, Path: p.Path}
		switch {
		case p.Fragment != "":
			return u, errors.New("it has a fragment (#); a branch is named by ?ref=")
		case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path)):
			return u, errors.New("a file URL needs an absolute path: file:///PATH")
		case u.Scheme == "file":
			u.Host, u.Path = "", filepath.Clean(u.Path)
		case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh":
			return u, fmt.Errorf("the scheme %q is none of https, http, ssh, file", u.Scheme)
		case u.Host == "" || strings.Trim(u.Path, "/") == "":
			return u, errors.New("a host and a path are needed")
		}
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return u, err
	}
	for key, values := range q {
		if key != "ref" && key != "path" || len(values) != 1 {
			return u, fmt.Errorf("there are the parameters ref and path, once each; not %q", key)
		}
	}
	u.Ref = q.Get("ref")
	if folder := q.Get("path"); folder != "" {
		if u.Folder = path.Clean(strings.Trim(folder, "/")); u.Folder == ".." || strings.HasPrefix(u.Folder, "../") {
			return u, errors.New("its path leads out of the repository")
		}
		if u.Folder == "." {
			u.Folder = ""
		}
	}
	return u, nil
}

// redact leaves out what may be a password.
func redact(arg string) string {
	if scheme, rest, ok := strings.Cut(arg, "://"); ok {
		host, tail, slash := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			user, _, _ := strings.Cut(host[:i], ":")
			host = user + host[i:]
		}
		if slash {
			tail = "/" + tail
		}
		return scheme + "://" + host + tail
	}
	return arg
}

// String is the URL in the form that Parse reads, always the same for the same.
func (u URL) String() string {
	q := url.Values{}
	if u.Ref != "" {
		q.Set("ref", u.Ref)
	}
	if u.Folder != "" {
		q.Set("path", u.Folder)
	}
	s := u.Remote()
	if len(q) > 0 {
		s += "?" + q.Encode()
	}
	return s
}

// Remote is the repository alone.
func (u URL) Remote() string {
	at := ""
	if u.User != "" {
		at = u.User + "@"
	}
	p := u.Path
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	if u.Scheme == "ssh" && !strings.HasPrefix(u.Path, "/") {
		// A path that begins at the user's home is only told from an absolute one by the short form.
		return at + u.Host + ":" + u.Path
	}
	return u.Scheme + "://" + at + u.Host + (&url.URL{Path: p}).EscapedPath()
}

// address of an ssh server.
func (u URL) address() string {
	if host, port, err := net.SplitHostPort(u.Host); err == nil {
		return net.JoinHostPort(host, port)
	}
	return net.JoinHostPort(strings.Trim(u.Host, "[]"), "22")
}

// plainText reports whether what is sent there can be read on the way.
func (u URL) plainText() bool {
	if u.Scheme != "http" {
		return false
	}
	host := u.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}
