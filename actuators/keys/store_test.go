package keys_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/keys"
)

// TestMain is also the process that TestKillAtAnyMoment kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("KEYS_TEST_STATE"); dir != "" {
		churn(dir)
	}
	os.Exit(m.Run())
}

// churn rotates and retires until it is killed, and says what was done.
func churn(dir string) {
	s := keys.Open(dir)
	for {
		id, err := s.Rotate("dmz")
		if err == nil {
			fmt.Println("rotated", id)
			err = s.Retire("dmz", id)
		}
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("retired", id)
	}
}

// file is a cluster's file as it is on disk.
type file []struct {
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	ServerPublic string    `json:"server_public"`
	ServerSecret string    `json:"server_secret"`
	ClientPublic string    `json:"client_public"`
	ClientSecret string    `json:"client_secret"`
}

func path(dir string) string { return filepath.Join(dir, "keys", "dmz.json") }

func read(t *testing.T, dir string) file {
	t.Helper()
	b, err := os.ReadFile(path(dir))
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func ids(t *testing.T, s *keys.Store) []string {
	t.Helper()
	ids, err := s.IDs("dmz")
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestLifeOfKeys(t *testing.T) {
	dir := t.TempDir()
	s := keys.Open(dir)
	if got := ids(t, s); got != nil {
		t.Errorf("before: %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "keys")); err == nil {
		t.Error("looking has made the folder")
	}
	first, err := s.Ensure("dmz")
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(first) {
		t.Fatalf("first: %q, %v", first, err)
	}
	if again, err := s.Ensure("dmz"); err != nil || again != first {
		t.Errorf("again: %q, %v", again, err)
	}
	second, err := s.Rotate("dmz")
	if err != nil || second == first {
		t.Fatalf("rotation: %q, %v", second, err)
	}
	if got := ids(t, s); !slices.Equal(got, []string{second, first}) {
		t.Errorf("while rotating: %v", got)
	}
	if _, err := s.Rotate("dmz"); !errors.Is(err, keys.ErrRotating) {
		t.Errorf("a second rotation: %v", err)
	}
	if got, err := s.Ensure("dmz"); err != nil || got != second {
		t.Errorf("ensured while rotating: %q, %v", got, err)
	}
	onDisk := read(t, dir)
	for i, id := range []string{second, first} {
		p, err := s.Get("dmz", id)
		if err != nil {
			t.Fatal(err)
		}
		f := onDisk[i]
		if p.ID != f.ID || p.ServerPublic != f.ServerPublic || p.ServerSecret.Reveal() != f.ServerSecret || p.ClientPublic != f.ClientPublic ||
			p.ClientSecret.Reveal() != f.ClientSecret || !p.Created.Equal(f.Created) || time.Since(p.Created) > time.Minute {
			t.Errorf("entry %d is not what is on disk", i)
		}
		server, err1 := p.Server()
		client, err2 := p.Client()
		if err := errors.Join(err1, err2); err != nil || server.Public.Z85() != f.ServerPublic || server.Secret.Public() != server.Public || client.Secret.Z85() != f.ClientSecret {
			t.Errorf("entry %d as pairs: %v", i, err)
		}
	}
	if err := s.Retire("dmz", "000000000000"); err == nil || len(ids(t, s)) != 2 {
		t.Errorf("keeping what is not there: %v", err)
	}
	if err := s.Retire("dmz", second); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, s); !slices.Equal(got, []string{second}) {
		t.Errorf("after: %v", got)
	}
	if _, err := s.Get("dmz", first); err == nil || !strings.Contains(err.Error(), first) {
		t.Errorf("the old ones: %v", err)
	}
	if b, _ := os.ReadFile(path(dir)); strings.Contains(string(b), onDisk[1].ServerSecret) {
		t.Error("the old ones are still on disk")
	}
	if got, err := s.Clusters(); err != nil || !slices.Equal(got, []string{"dmz"}) {
		t.Errorf("clusters: %v, %v", got, err)
	}
}

// TestForTheOwnerAlone: also where the folder was there before, open to all.
func TestForTheOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "keys")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.Chmod(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(dir).Ensure("dmz"); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]os.FileMode{folder: 0o700 | os.ModeDir, path(dir): 0o600} {
		info, err := os.Stat(p)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

// TestDamaged: a file that does not hold together is an error for everybody, stays as it is, and nothing of it is
// in the error.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := keys.Open(dir)
	id, err := s.Ensure("dmz")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path(dir))
	if err != nil {
		t.Fatal(err)
	}
	good, was := string(b), read(t, dir)[0]
	entry := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(good), "["), "]")
	for name, text := range map[string]string{
		"empty":            "",
		"no keys":          "[]\n",
		"null":             "null",
		"half":             good[:len(good)/2],
		"something behind": good + good,
		"no JSON":          "keys = " + was.ServerSecret,
		"another type":     `[{"id": 7}]`,
		"a secret there":   `["` + was.ServerSecret + `"]`,
		"unknown field":    strings.Replace(good, `"id"`, `"ID "`, 1),
		"too large":        good + strings.Repeat(" ", 1<<17),
		"another id":       strings.Replace(good, was.ID, "0123456789ab", 1),
		"twice":            "[" + entry + "," + entry + "]",
		"no time":          strings.Replace(good, was.Created.Format(time.RFC3339), "0001-01-01T00:00:00Z", 1),
		"a letter wrong":   strings.Replace(good, was.ServerSecret, "\u00e9"+was.ServerSecret[1:], 1),
		"too short":        strings.Replace(good, was.ClientSecret, was.ClientSecret[5:], 1),
		"another secret":   strings.Replace(good, was.ClientSecret, was.ServerSecret, 1),
		"another public":   strings.Replace(good, was.ClientPublic, was.ServerPublic, 1),
	} {
		if text == good {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if err := os.WriteFile(path(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err1 := s.IDs("dmz")
		_, err2 := s.Ensure("dmz")
		_, err3 := s.Rotate("dmz")
		_, err4 := s.Get("dmz", id)
		for i, err := range []error{err1, err2, err3, s.Retire("dmz", id), err4} {
			d, ok := errors.AsType[*keys.Damaged](err)
			if !ok || d.Path != path(dir) {
				t.Errorf("%s: call %d: %v", name, i, err)
				continue
			}
			for _, secret := range []string{was.ServerSecret[1:], was.ClientSecret[5:]} {
				if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), secret[:10]) {
					t.Errorf("%s: a secret is in the error", name)
				}
			}
		}
		if b, err := os.ReadFile(path(dir)); err != nil || string(b) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// TestUnreadable is no absence.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(path(dir), 0o700); err != nil { // a folder in its place
		t.Fatal(err)
	}
	s := keys.Open(dir)
	if ids, err := s.IDs("dmz"); err == nil {
		t.Errorf("ids %v", ids)
	}
	if id, err := s.Ensure("dmz"); err == nil {
		t.Errorf("made %s", id)
	}
}

// TestCannotWrite leaves what there was.
func TestCannotWrite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys"), nil, 0o600); err != nil { // a file in the folder's place
		t.Fatal(err)
	}
	s := keys.Open(dir)
	if _, err := s.Ensure("dmz"); err == nil || !strings.Contains(err.Error(), "cannot ") {
		t.Errorf("made: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../dmz", ".hidden", "a/b", strings.Repeat("x", 300)} {
		if _, err := s.Ensure(name); err == nil {
			t.Errorf("made for %q", name)
		}
		if _, err := s.IDs(name); err == nil {
			t.Errorf("read for %q", name)
		}
	}
}

// TestKillAtAnyMoment: a process that rotates and retires without pause is killed at many moments. The file is
// always whole, never older than what was said to be done, and the next write clears away what was left.
func TestKillAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	s := keys.Open(dir)
	if _, err := s.Ensure("dmz"); err != nil {
		t.Fatal(err)
	}
	left := 0
	for round := range 40 {
		if got := ids(t, s); len(got) == 2 {
			if err := s.Retire("dmz", got[0]); err != nil {
				t.Fatal(err)
			}
		}
		said := killed(t, dir, time.Duration(round%8)*time.Millisecond+time.Duration(round*137)*time.Microsecond)
		list, err := s.List("dmz")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if said != "" {
			what, id, _ := strings.Cut(said, " ")
			at := slices.IndexFunc(list, func(p keys.Pair) bool { return p.ID == id })
			// What was done last is there; one rotation, and its end, may have come behind it unsaid.
			if what == "rotated" && at != 0 || what == "retired" && at < 0 && len(list) != 1 || len(list) > 2 {
				t.Errorf("round %d: %s, and there are %d, it is at %d", round, said, len(list), at)
			}
		}
		hidden, err := filepath.Glob(filepath.Join(dir, "keys", ".*"))
		if err != nil {
			t.Fatal(err)
		}
		left += len(hidden)
	}
	t.Logf("%d unfinished files were left in all", left)
	if got := ids(t, s); len(got) == 2 {
		if err := s.Retire("dmz", got[0]); err != nil {
			t.Fatal(err)
		}
	} else if _, err := s.Rotate("dmz"); err != nil {
		t.Fatal(err)
	}
	es, err := os.ReadDir(filepath.Join(dir, "keys"))
	if err != nil || len(es) != 1 {
		t.Errorf("in the folder: %v, %v", es, err)
	}
}

// killed runs churn, kills it a while after its first word, and returns its last.
func killed(t *testing.T, dir string, after time.Duration) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "KEYS_TEST_STATE="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	last := ""
	for lines.Scan() {
		if last == "" {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		if last = lines.Text(); strings.HasPrefix(last, "error") {
			t.Errorf("churn: %s", last)
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return last
}

// TestLeftovers of a crash are cleared away by the next write.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := keys.Open(dir)
	if _, err := s.Ensure("dmz"); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "keys", ".dmz.json123456")
	b, err := os.ReadFile(path(dir))
	if err := errors.Join(err, os.WriteFile(left, b[:len(b)/2], 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, s); len(got) != 1 {
		t.Errorf("ids %v", got)
	}
	if got, err := s.Clusters(); err != nil || len(got) != 1 {
		t.Errorf("clusters %v, %v", got, err)
	}
	if _, err := s.Rotate("dmz"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover: %v", err)
	}
}

// TestAtTheSameTime: of many who want keys, all get the same; of many who rotate, one does.
func TestAtTheSameTime(t *testing.T) {
	s := keys.Open(t.TempDir())
	var wg sync.WaitGroup
	got := make([]string, 16)
	for i := range got {
		wg.Go(func() {
			id, err := s.Ensure("dmz")
			if err != nil {
				t.Error(err)
			}
			got[i] = id
		})
	}
	wg.Wait()
	if slices.Sort(got); got[0] == "" || got[0] != got[len(got)-1] {
		t.Errorf("ensured %v", got)
	}
	rotated := make(chan string, 16)
	for range 16 {
		wg.Go(func() {
			if id, err := s.Rotate("dmz"); err == nil {
				rotated <- id
			} else if !errors.Is(err, keys.ErrRotating) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(rotated) != 1 {
		t.Errorf("%d rotations", len(rotated))
	}
}

// TestSecretsDoNotShow in anything that prints, formats, logs or encodes.
func TestSecretsDoNotShow(t *testing.T) {
	s := keys.Open(t.TempDir())
	id, err := s.Ensure("dmz")
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Get("dmz", id)
	if err != nil {
		t.Fatal(err)
	}
	type within struct{ inner keys.Pair }
	var b strings.Builder
	for _, v := range []any{p, &p, p.ServerSecret, &p.ServerSecret, within{p}, &within{p}, []keys.Pair{p}, map[string]any{"k": p.ClientSecret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		fmt.Fprintln(&b, v)
		if text, err := json.Marshal(v); err == nil {
			b.Write(text)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Info("made", "keys", v)
		}
	}
	for _, secret := range []string{p.ServerSecret.Reveal(), p.ClientSecret.Reveal()} {
		if len(secret) != 40 {
			t.Fatal("no secret")
		}
		if strings.Contains(b.String(), secret) || strings.Contains(b.String(), fmt.Sprintf("%x", secret)) {
			t.Error("a secret shows")
		}
	}
	if !strings.Contains(b.String(), p.ServerPublic) || !strings.Contains(b.String(), "(hidden)") {
		t.Error("what may be shown does not show")
	}
}

// TestGenerate: different each time, and in Z85.
func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		k, err := keys.Generate()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{k.Public, k.Secret.Reveal()} {
			if !regexp.MustCompile(`^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$`).MatchString(text) || seen[text] {
				t.Fatalf("not a new key, or not in Z85")
			}
			seen[text] = true
		}
	}
}

// TestFileIsReadable by a person: keys as they are, not escaped.
func TestFileIsReadable(t *testing.T) {
	dir := t.TempDir()
	s := keys.Open(dir)
	for range 20 { // until there is a key with < > or &
		if _, err := s.Rotate("dmz"); err != nil {
			t.Fatal(err)
		}
		got := ids(t, s)
		if err := s.Retire("dmz", got[0]); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path(dir))
		if err != nil {
			t.Fatal(err)
		}
		f := read(t, dir)[0]
		if !strings.Contains(string(b), f.ServerSecret) || strings.Contains(string(b), `\u00`) || !strings.HasSuffix(string(b), "]\n") {
			t.Fatalf("the file is not readable")
		}
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s := keys.Open(dir)
	old, _ := s.Ensure("dmz")
	id, _ := s.Rotate("dmz")
	all, _ := s.IDs("dmz")
	fmt.Println(len(all), all[0] == id, all[1] == old)
	_ = s.Retire("dmz", id)
	p, _ := s.Get("dmz", id)
	fmt.Println(len(p.ServerPublic), len(p.ServerSecret.Reveal()), p.ServerSecret)
	// Output:
	// 2 true true
	// 40 40 (hidden)
}
