package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine/news"
)

// Bounds of one attempt.
const (
	within  = 30 * time.Second
	maxSaid = 4 << 10 // of what a command or a server says
)

// refusal is an answer that will be no other the next time.
type refusal struct{ error }

// deliver tells a hook once. The error names no URL; a refusal is final.
func (h *Hook) deliver(ctx context.Context, c *http.Client, env []string, n *news.News) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not done within %s", within))
	defer cancel()
	body, err := json.Marshal(n)
	if err != nil {
		return refusal{err}
	}
	if h.URL != "" {
		err = h.post(ctx, c, n, body)
	} else {
		err = h.run(ctx, env, n, body)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// post is a POST as forges send theirs: who can check X-Hub-Signature-256 of GitHub can check this one.
func (h *Hook) post(ctx context.Context, c *http.Client, n *news.News, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return refusal{errors.New("its url cannot be used")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "zeekrec")
	req.Header.Set("X-Zeekrec-Event", string(n.Kind))
	req.Header.Set("X-Zeekrec-Id", strconv.FormatInt(n.ID, 10))
	if h.Secret != "" {
		m := hmac.New(sha256.New, []byte(h.Secret))
		m.Write(body)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(m.Sum(nil)))
	}
	res, err := c.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err // without the URL
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxSaid)) // so that the connection can be used again
	switch code := res.StatusCode; {
	case code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return errors.New("the server answers " + res.Status)
	default:
		return refusal{errors.New("the server answers " + res.Status)}
	}
}

// run gives a command the JSON on stdin, and the same in its environment. The texts are not to be trusted: who can push chooses some of them.
func (h *Hook) run(ctx context.Context, env []string, n *news.News, body []byte) error {
	cmd := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	cmd.Env = append(env[:len(env):len(env)],
		"ZEEKREC_ID="+strconv.FormatInt(n.ID, 10), "ZEEKREC_EVENT="+string(n.Kind), "ZEEKREC_CLUSTER="+n.Cluster, "ZEEKREC_RESOURCE="+n.Resource,
		"ZEEKREC_REVISION="+n.Revision, "ZEEKREC_COMMIT="+n.Commit, "ZEEKREC_AUTHOR="+n.Author, "ZEEKREC_TEXT="+strings.ReplaceAll(n.Text, "\x00", ""))
	said := &beginning{}
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", bytes.NewReader(append(body, '\n')), said, said
	// What it started is ended with it.
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, time.Second
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it is done, and has left somebody behind who holds its output
	}
	if text := strings.Join(strings.Fields(said.String()), " "); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// beginning keeps the first maxSaid bytes.
type beginning struct{ bytes.Buffer }

func (b *beginning) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxSaid-b.Len()))])
	return len(p), nil
}
