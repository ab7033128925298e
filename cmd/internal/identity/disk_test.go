package identity_test

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// TestMain is also the process that TestKillAtAnyMoment kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("IDENTITY_TEST_DIR"); dir != "" {
		if err := churn(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// churn opens an authority, and lets agents in and out until it is killed. It says what was done.
func churn(dir string) error {
	a, err := identity.Open(filepath.Join(dir, "controller"), time.Now)
	if err != nil {
		return err
	}
	csr, err := identity.NewRequest(filepath.Join(dir, "agent"), "sensor1")
	if err != nil {
		return err
	}
	for {
		text, err := a.NewToken("sensor1", time.Hour, "anna")
		if err != nil {
			return err
		}
		fmt.Println("made", text)
		t, err := identity.ParseToken(text)
		if err != nil {
			return err
		}
		e, err := a.Enrol(t.Secret(), "sensor1", csr)
		if err != nil {
			return err
		}
		fmt.Println("enrolled", text)
		if err := identity.Accept(filepath.Join(dir, "agent"), e, []string{"x:1"}); err != nil {
			return err
		}
		fmt.Println("accepted", text)
		if err := a.Revoke("sensor1", "anna"); err != nil {
			return err
		}
		fmt.Println("revoked", text)
	}
}

// TestKillAtAnyMoment: what was said to be done is done, and everything can be opened.
func TestKillAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	for round := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "IDENTITY_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := map[string]string{} // the last word by kind
		last := ""
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			kind, what, _ := strings.Cut(lines.Text(), " ")
			if said[kind], last = what, kind; kind == "error" {
				t.Errorf("round %d: %s", round, what)
			}
			if n == round*3 { // somewhere in what follows
				time.AfterFunc(time.Duration(round)*300*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()

		a, err := identity.Open(filepath.Join(dir, "controller"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := identity.NewRequest(filepath.Join(dir, "agent"), "sensor1")
		if err != nil {
			t.Fatal(err)
		}
		state := identity.State("")
		if all := a.Agents(); len(all) == 1 {
			state = all[0].State
		}
		if (last == "enrolled" || last == "accepted") && state != identity.Approved && state != identity.Revoked || last == "revoked" && state == "" {
			t.Errorf("round %d: after %q it is %q", round, last, state)
		}
		if said["accepted"] != "" {
			if _, err := identity.Load(filepath.Join(dir, "agent")); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if spent, err := identity.ParseToken(said["revoked"]); err == nil && said["enrolled"] == said["revoked"] && said["made"] == said["revoked"] {
			_, err := a.Enrol(spent.Secret(), "sensor1", csr)
			if r, ok := errors.AsType[*identity.Refused](err); !ok || r.Why != identity.WasRevoked && r.Why != identity.TokenUsed {
				t.Errorf("round %d: a spent token: %v", round, err)
			}
		}
		for _, sub := range []string{"controller", "agent"} {
			for name := range tree(t, filepath.Join(dir, sub)) {
				if strings.HasPrefix(name, ".") {
					t.Errorf("round %d: %s is left over", round, name)
				}
			}
		}
	}
}

// TestCrashWhileFounding: whatever of a first start is there, the next goes on.
func TestCrashWhileFounding(t *testing.T) {
	_, _, whole := fresh(t)
	for _, there := range [][]string{{}, {"agents.json"}, {"agents.json", "tokens.json"}} {
		dir := filepath.Join(t.TempDir(), "controller")
		for _, f := range there {
			writeFile(t, filepath.Join(dir, f), readFile(t, filepath.Join(whole, f)))
		}
		writeFile(t, filepath.Join(dir, ".ca.pem123"), []byte("half a key"))
		writeFile(t, filepath.Join(dir, ".profile"), []byte("somebody's"))
		a := open(t, dir, time.Now)
		got := tree(t, dir)
		if _, ok := got[".ca.pem123"]; ok || len(got) != 4 || got[".profile"] != "somebody's" {
			t.Errorf("from %v: %d files", there, len(got))
		}
		if again := open(t, dir, time.Now); again.Fingerprint() != a.Fingerprint() {
			t.Error("another authority")
		}
	}
}

// TestDamagedController: each file, damaged in each way, is an error that names it, and stays as it is.
func TestDamagedController(t *testing.T) {
	a, clock, dir := fresh(t)
	serverTLS(t, a)
	enrol(t, a, "sensor1")
	tokenFor(t, a, "sensor2")
	other, _, otherDir := fresh(t)
	serverTLS(t, other)
	enrol(t, other, "sensor1")
	sound, foreign := tree(t, dir), tree(t, otherDir)
	if len(sound) != 4 {
		t.Fatalf("%d files", len(sound))
	}
	cut := func(s string) string { return s[:len(s)/2] }
	for _, c := range []struct{ what, file, content, want string }{
		{"cut", "ca.pem", cut(sound["ca.pem"]), "it does not begin with a certificate in PEM"},
		{"empty", "ca.pem", "", "it does not begin with a certificate in PEM"},
		{"without its key", "ca.pem", sound["ca.pem"][:strings.Index(sound["ca.pem"], "-----BEGIN PRIVATE")], "it is not one PRIVATE KEY in PEM"},
		{"with another's key", "ca.pem", sound["ca.pem"][:strings.Index(sound["ca.pem"], "-----BEGIN PRIVATE")] + foreign["ca.pem"][strings.Index(foreign["ca.pem"], "-----BEGIN PRIVATE"):], "the key does not belong to the certificate"},
		{"a server's", "ca.pem", sound["server.pem"], "the certificate is not that of a certificate authority"},
		{"another's", "ca.pem", foreign["ca.pem"], ""}, // agents.json does not go with it
		{"something after it", "ca.pem", sound["ca.pem"] + sound["ca.pem"], "it is not one PRIVATE KEY in PEM"},
		{"too large", "ca.pem", strings.Repeat("\n", 70000), "it is too large"},
		{"cut", "agents.json", cut(sound["agents.json"]), ""},
		{"empty", "agents.json", "", "it cannot be understood (damaged near byte 0)"},
		{"nothing in it", "agents.json", "{}", "something is missing in it"},
		{"null", "agents.json", "null", "something is missing in it"},
		{"something after it", "agents.json", sound["agents.json"] + "{}", "something follows its content"},
		{"an unknown field", "agents.json", strings.Replace(sound["agents.json"], `"spent"`, `"spend"`, 1), ""},
		{"another's", "agents.json", foreign["agents.json"], `the entry "sensor1" does not hold together: the certificate was not made by this controller`},
		{"another name", "agents.json", strings.Replace(sound["agents.json"], `"sensor1"`, `"sensor9"`, 1), `the entry "sensor9" does not hold together: its certificate is another's`},
		{"no name", "agents.json", strings.Replace(sound["agents.json"], `"sensor1"`, `"../sensor1"`, 1), `the entry "../sensor1" does not hold together: the name of an agent cannot begin with '.' or '-'`},
		{"another state", "agents.json", strings.Replace(sound["agents.json"], `"approved"`, `"root"`, 1), `the entry "sensor1" does not hold together: there is no state "root"`},
		{"pending", "agents.json", strings.Replace(sound["agents.json"], `"approved"`, `"pending"`, 1), `the entry "sensor1" does not hold together: it is pending, and has a certificate`},
		{"no key", "agents.json", strings.Replace(sound["agents.json"], `"key": "`, `"key": "x`, 1), `the entry "sensor1" does not hold together: something is missing in it`},
		{"no certificate", "agents.json", strings.Replace(sound["agents.json"], `BEGIN CERT`, `BEGIN CART`, 1), `the entry "sensor1" does not hold together: its certificate: it is not one CERTIFICATE in PEM`},
		{"cut", "tokens.json", cut(sound["tokens.json"]), ""},
		{"null", "tokens.json", "null", "something is missing in it"},
		{"no hash", "tokens.json", `{"abc": {"name":"","expires":"2026-01-01T00:00:00Z","by":""}}`, "a token does not hold together"},
		{"cut", "server.pem", cut(sound["server.pem"]), ""},
		{"another's", "server.pem", foreign["server.pem"], "it was not made by this controller; remove it, and a new one is made"},
	} {
		t.Run(c.file+" "+c.what, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), "controller")
			broken := maps.Clone(sound)
			broken[c.file] = c.content
			for name, content := range broken {
				writeFile(t, filepath.Join(at, name), []byte(content))
			}
			a, err := identity.Open(at, clock.now)
			prefix := "cannot open the fleet's identities: "
			if err == nil {
				_, err = a.ServerTLS(nil)
				prefix = "cannot use the controller's certificate: "
			}
			d, ok := errors.AsType[*identity.Damaged](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			blamed := c.file
			if c.file == "ca.pem" && c.what == "another's" {
				blamed = "agents.json"
			}
			if d.Path != filepath.Join(at, blamed) || !strings.HasPrefix(err.Error(), prefix+"cannot use "+d.Path+": ") || c.want != "" && err.Error() != prefix+"cannot use "+d.Path+": "+c.want {
				t.Errorf("got  %v\nwant … %s", err, c.want)
			}
			if got := tree(t, at); !maps.Equal(got, broken) {
				t.Error("files were changed")
			}
		})
	}
	for file, want := range map[string]string{
		"ca.pem":      "it is missing, while other files of a fleet are there; restore it, or move them all away and enrol all agents again",
		"agents.json": "it is missing; restore it, or move the whole folder away and enrol all agents again",
		"tokens.json": "it is missing; restore it, or move the whole folder away and enrol all agents again",
	} {
		at := filepath.Join(t.TempDir(), "controller")
		for name, content := range sound {
			if name != file {
				writeFile(t, filepath.Join(at, name), []byte(content))
			}
		}
		_, err := identity.Open(at, clock.now)
		if want = "cannot open the fleet's identities: cannot use " + filepath.Join(at, file) + ": " + want; err == nil || err.Error() != want {
			t.Errorf("without %s: %v", file, err)
		}
		if len(tree(t, at)) != 3 {
			t.Errorf("without %s: files were made", file)
		}
	}
}

func TestClockOfTheController(t *testing.T) {
	_, clock, dir := fresh(t)
	made := clock.now().UTC()
	clock.add(3651 * day)
	_, err := identity.Open(dir, clock.now)
	want := fmt.Sprintf("cannot open the fleet's identities: the certificate authority is valid from %s to %s, and this machine's clock says %s; set the clock, or move %s away and enrol all agents again",
		made.Add(-time.Hour).Format(time.RFC3339), made.Add(3650*day).Format(time.RFC3339), made.Add(3651*day).Format(time.RFC3339), dir)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	// At the end of the authority's life certificates end with it.
	clock.add(-31 * day)
	a := open(t, dir, clock.now)
	if id, _ := enrol(t, a, "sensor1"); !id.Expires().Equal(made.Add(3650 * day)) {
		t.Errorf("valid until %v", id.Expires())
	}
}

// TestDiskFull: what cannot be written down has not happened, but for a revocation.
func TestDiskFull(t *testing.T) {
	a, _, dir := fresh(t)
	_, agentDir := enrol(t, a, "sensor1")
	cert := certOf(t, agentDir)
	tok := tokenFor(t, a, "sensor2")
	csr := request(t, t.TempDir(), "sensor2")

	restore := block(t, filepath.Join(dir, "agents.json"))
	if _, err := a.Enrol(tok.Secret(), "sensor2", csr); err == nil || !strings.HasPrefix(err.Error(), "cannot enrol sensor2: ") {
		t.Errorf("enrolled: %v", err)
	} else if _, ok := errors.AsType[*identity.Refused](err); ok {
		t.Error("the controller's own trouble is a refusal")
	}
	if all := a.Agents(); len(all) != 1 {
		t.Errorf("the registry: %v", all)
	}
	if err := a.Revoke("sensor1", "anna"); err == nil || !strings.HasPrefix(err.Error(), "cannot write down that sensor1 is revoked: ") ||
		!strings.HasSuffix(err.Error(), "; it is shut out until the controller starts again, so repeat this when the cause is gone") {
		t.Errorf("revoked: %v", err)
	}
	const revoked = "the controller refuses sensor1: it was revoked; make a new token on the controller and enrol again to let it in"
	_, err := a.Check(cert)
	refused(t, err, identity.WasRevoked, revoked)
	restore()
	if err := a.Revoke("sensor1", "anna"); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, dir, time.Now).Check(cert)
	refused(t, err, identity.WasRevoked, revoked)
	if _, err := a.Enrol(tok.Secret(), "sensor2", csr); err != nil {
		t.Errorf("the token is spent: %v", err)
	}

	restore = block(t, filepath.Join(dir, "tokens.json"))
	if _, err := a.NewToken("", time.Hour, "anna"); err == nil || !strings.HasPrefix(err.Error(), "cannot make a token: ") {
		t.Errorf("a token: %v", err)
	}
	restore()
	tokenFor(t, a, "")
}
