package git

import (
	"errors"
	"fmt"
	"path/filepath"

	gogit "github.com/go-git/go-git/v5"
)

// Checkout finds the repository whose work tree a folder is in, and which folder of it that is. The error says that it is in none.
func Checkout(folder string) (URL, error) {
	abs, err := filepath.Abs(folder)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return URL{}, err
	}
	r, err := gogit.PlainOpenWithOptions(abs, &gogit.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return URL{}, fmt.Errorf("%s: %w", abs, err)
	}
	w, err := r.Worktree()
	if err != nil {
		return URL{}, fmt.Errorf("%s: %w", abs, err)
	}
	root := w.Filesystem.Root()
	rel, err := filepath.Rel(root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return URL{}, errors.New(abs + " is not in the work tree " + root)
	}
	if rel = filepath.ToSlash(rel); rel == "." {
		rel = ""
	}
	return URL{Scheme: "file", Path: root, Folder: rel}, nil
}
