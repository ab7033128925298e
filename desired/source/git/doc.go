// Package git says what a commit of a Git repository holds, in the words of package source.
//
// [Read] takes one look; [Source] follows a branch, a tag or HEAD and yields a [source.Update] after every look. A look is
//
//	ask for refs ──same as last time──► nothing is fetched
//	     │
//	     ▼
//	fetch into a bare repository of its own (bounded) ─► who signed it? ─► does it descend from what was accepted? ─► read blobs
//
// Nothing is ever checked out, and no repository outlives its look: so none can be corrupted by a crash, and a history that was
// rewritten needs no repair. A repository on this machine (file://) is read where it is, and nothing is copied.
//
// Invariants:
//
//   - Nothing that could not be read looks like something that was removed. Whatever goes wrong with the repository is an Update with
//     Err, a *source.Error; what goes wrong with one cluster's files (a symlink that leads out, a submodule, a Git LFS pointer) is that
//     cluster's ClusterFile.Err alone.
//   - What a server sends is bounded before it is unpacked: bytes of the pack, size of every object, sum of all (Options.MaxSize).
//   - A commit is verified before anything of it is parsed, where Options.Signers is set.
//   - A commit that does not descend from the last accepted one is not judged here: Commit.Descends says so, and the engine waits for
//     a person.
//   - No credential is part of a URL, an error, or a Snapshot.
//
// Use:
//
//	url, err := git.Parse("https://git.example.org/zeek.git?ref=main&path=clusters")
//	s := git.New(url, git.Options{Dir: "/var/lib/zeekrec/git", Base: lastAccepted})
//	go s.Run(ctx)
//	for u := range s.Updates() { … }
package git
