package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
	"github.com/zeekrec/zeekrec/desired/source/git"
)

// readTimeout bounds a look at a source: a file system may hang.
const readTimeout = 60 * time.Second

// sourcePath is the absolute path of a source that is a folder or a file, or the URL of one that is a Git repository, always the same for
// the same.
func sourcePath(arg string) (string, error) {
	if git.IsURL(arg) {
		u, err := git.Parse(arg)
		if err != nil {
			return "", usage(err, "for example: https://git.example.org/zeek.git?ref=main&path=clusters, ssh://git@HOST/PATH, file:///PATH")
		}
		return u.String(), nil
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return "", fmt.Errorf("cannot tell which folder %q is: %w", arg, err)
	}
	return abs, nil
}

// argOr is the source that was given, else the setting's.
func (a *app) argOr(args []string) (string, error) {
	if len(args) > 0 {
		return sourcePath(args[0])
	}
	return sourcePath(a.settings.source)
}

// readSource looks at a source once.
func (a *app) readSource(ctx context.Context, path string) (*desired.Snapshot, error) {
	if git.IsURL(path) {
		u, err := git.Parse(path)
		if err != nil {
			return nil, err
		}
		return git.Read(ctx, u, a.gitOptions())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("cannot read the source %s: no answer within %s", path, readTimeout))
	defer cancel()
	return source.Read(ctx, path)
}

// isFile reports whether the source is a single .cfg file.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// isCommit reports whether a text is the beginning of a commit's name.
func isCommit(s string) bool {
	return len(s) >= 7 && len(s) <= 40 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// clusterRevision splits CLUSTER@REV.
func clusterRevision(arg string) (cluster, revision string, err error) {
	cluster, revision, ok := strings.Cut(arg, "@")
	if !ok || cluster == "" || revision == "" {
		return "", "", usage(fmt.Errorf("cannot understand %q: it has the form CLUSTER@REVISION", arg), "revisions are in: zeekrec history")
	}
	return cluster, revision, nil
}

// until is when something ends that lasts for d; zero for ever.
func until(d time.Duration) (time.Time, error) {
	switch {
	case d < 0:
		return time.Time{}, usage(errors.New("cannot use a negative --for"))
	case d == 0:
		return time.Time{}, nil
	}
	return time.Now().Add(d), nil
}
