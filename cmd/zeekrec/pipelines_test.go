package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPipelines runs what the example pipelines run of zeekrec, in a checkout of the example repository on a branch that adds a worker.
func TestPipelines(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	bin := filepath.Dir(build(t, "./cmd/zeekrec", "-s -w"))
	example := filepath.Join("..", "..", "examples", "git")
	for file, env := range map[string][]string{
		".github/workflows/plan.yml": {"GITHUB_BASE_REF=main", "GITHUB_STEP_SUMMARY=summary.md"},
		".gitlab-ci.yml":             {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main"},
	} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			env := append(os.Environ(), append(env, "PATH="+bin+":"+os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null",
				"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")...)
			sh := func(in, script string) {
				t.Helper()
				cmd := exec.Command("sh", "-ec", script)
				cmd.Dir, cmd.Env = in, env
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", script, err, out)
				}
			}
			if err := os.CopyFS(filepath.Join(dir, "origin"), os.DirFS(example)); err != nil {
				t.Fatal(err)
			}
			sh(dir, `git -C origin init -q -b main && git -C origin add -A && git -C origin commit -qm one && git clone -q origin checkout
				cd checkout && printf '\n[worker-99]\nrole = worker\ninterface = lo\n' >> clusters/dmz.cfg && git checkout -q -b topic && git commit -qam two`)
			b, err := os.ReadFile(filepath.Join(example, file))
			if err != nil {
				t.Fatal(err)
			}
			var ran int
			for _, m := range regexp.MustCompile(`(?m)^ *(?:- |run: |- run: )((?:zeekrec|git) .*)$`).FindAllStringSubmatch(string(b), -1) {
				sh(filepath.Join(dir, "checkout"), m[1])
				ran++
			}
			plan, err := os.ReadFile(filepath.Join(dir, "checkout", "plan.md"))
			if err != nil || ran < 2 || !strings.Contains(string(plan), "**Plan: 1 to start, 5 to update in place; 2 unchanged.**") || !strings.Contains(string(plan), "`worker-99`") {
				t.Errorf("%d commands were run; the comment is %v\n%s", ran, err, plan)
			}
		})
	}
}
