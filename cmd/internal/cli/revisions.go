package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source/git"
)

// errNoCheckout is why something that is no folder cannot be a revision either.
var errNoCheckout = errors.New("it is neither a folder, a file or a URL, nor is this a checkout of a Git repository whose revision it could be")

// sides reads what --from and --to name: a folder, a .cfg file, a URL, or else a revision of the repository that SOURCE is, a URL or a
// checkout; without SOURCE, of the checkout that the working folder is in. What exists as a file is taken for that.
func (a *app) sides(ctx context.Context, args []string, names ...string) ([]*desired.Snapshot, error) {
	var repo *git.URL
	if len(args) > 0 && git.IsURL(args[0]) {
		u, err := git.Parse(args[0])
		if err != nil {
			return nil, usage(err)
		}
		repo = &u
	}
	var out []*desired.Snapshot
	for _, name := range names {
		s, err := a.side(ctx, repo, args, name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (a *app) side(ctx context.Context, repo *git.URL, args []string, name string) (*desired.Snapshot, error) {
	if git.IsURL(name) {
		return a.readSource(ctx, name)
	}
	if repo == nil {
		if _, err := os.Stat(name); err == nil {
			path, err := sourcePath(name)
			if err != nil {
				return nil, err
			}
			return a.readSource(ctx, path)
		}
		folder := "."
		if len(args) > 0 {
			folder = args[0]
		}
		u, err := git.Checkout(folder)
		if err != nil {
			return nil, fmt.Errorf("cannot tell what %q is: %w", name, errors.Join(errNoCheckout, err))
		}
		repo = &u
	}
	u := *repo
	u.Ref = name
	s, err := git.Read(ctx, u, a.gitOptions())
	if err != nil {
		return nil, withHint(err, "in a shallow checkout (as CI makes them), fetch the branch first: git fetch --depth=1 origin main, and name origin/main")
	}
	return s, nil
}
