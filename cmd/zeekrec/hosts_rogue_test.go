package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	subjects "github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// from dials as a host does.
type from struct {
	h    *hosts
	host string
}

// Dial is nats.CustomDialer.
func (f from) Dial(_, at string) (net.Conn, error) { return f.h.dial(f.host, at) }

// hubAt is where the controller listens.
func hubAt() string { return net.JoinHostPort(address(controllerHost), "2150") }

// rogue: an agent with an identity of its own, which is good, is all that its host is trusted with. What it tries beyond that is refused, and
// the controller's log says so.
func (h *hosts) rogue() {
	h.t.Helper()
	before := h.watch.starts()
	h.stop("c", syscall.SIGTERM)
	cert, err := tls.LoadX509KeyPair(h.path("c", "agent", "identity", "cert.pem"), h.path("c", "agent", "identity", "key.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	ca, err := os.ReadFile(h.path("c", "agent", "identity", "ca.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	errs := make(chan error, 100)
	conn, err := nats.Connect("tls://"+hubAt(), nats.SetCustomDialer(from{h, "c"}), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(waitLong),
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: identity.ControllerName, Certificates: []tls.Certificate{cert}}),
		nats.CustomInboxPrefix(subjects.InboxPrefix("c")), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err }))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	refused := func(verb, subject string) {
		h.t.Helper()
		if err := conn.FlushTimeout(waitLong); err != nil {
			h.t.Fatal(err)
		}
		select {
		case err := <-errs:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
				h.t.Errorf("it was told %v when it wanted to %s %s", err, verb, subject)
			}
		case <-time.After(waitLong):
			h.t.Errorf("it may %s %s", verb, subject)
		}
		h.logged(map[string]string{"publish": "Publish Violation", "subscribe": "Subscription Violation"}[verb], subject)
	}
	heard := make(chan string, 100)
	for _, subject := range []string{"zr.v1.ask.a", "zr.v1.ask.*", "zr.v1.report.a", "zr.v1.report.>", "zr.v1.stream.>", "zr.v1.enrol", "zr.v1.>", ">", "_INBOX.>", "_INBOX_a.>", "_INBOX_*.>", "$SYS.>"} {
		if _, err := conn.Subscribe(subject, func(m *nats.Msg) { heard <- m.Subject }); err != nil {
			h.t.Fatal(err)
		}
		refused("subscribe", subject)
	}
	for _, subject := range []string{"zr.v1.ask.a", "zr.v1.want.a", "zr.v1.want._all", "zr.v1.cancel.a", "zr.v1.report.a", "zr.v1.renew.a", "zr.v1.stream.a.x", "zr.v1.enrol", "_INBOX_a.x", "_INBOX.x", "$SYS.REQ.SERVER.PING", "$JS.API.INFO"} {
		if err := conn.PublishRequest(subject, subjects.InboxPrefix("c")+".x", []byte(`{"method":"top","epoch":99,"left":1000000000}`)); err != nil {
			h.t.Fatal(err)
		}
		refused("publish", subject)
	}
	// What it may ask for is not answered where it could not write itself.
	if err := conn.PublishRequest("zr.v1.renew.c", "zr.v1.ask.a", nil); err != nil {
		h.t.Fatal(err)
	}
	h.logged("A request was not answered", "zr.v1.renew.c")
	// It may tell of itself, but not as if it were another.
	if err := conn.Publish("zr.v1.report.c", []byte("nonsense")); err != nil {
		h.t.Fatal(err)
	}
	h.logged("A report cannot be used", "instance=c")
	if len(heard) > 0 {
		h.t.Errorf("it heard %s", <-heard)
	}
	conn.Close()
	h.agent("c")
	h.settled(waitLong)
	h.onlyStarted("a rogue agent", before, nil)
}

// logged waits until the controller's log has a line with all of some words.
func (h *hosts) logged(words ...string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("the log says %q", words), 10*time.Second, func() error {
		b, err := os.ReadFile(h.path(controllerHost + ".log"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			all := strings.Contains(line, "level=WARN")
			for _, w := range words {
				all = all && strings.Contains(strings.ReplaceAll(line, `\"`, `"`), w)
			}
			if all {
				return nil
			}
		}
		return errors.New("it does not")
	})
}

// tokens that were used, or were not in time, open nothing.
func (h *hosts) tokens() {
	h.t.Helper()
	token := func(args ...string) string {
		out, err := h.ask(append([]string{"agents", "token"}, args...)...)
		if err != nil {
			h.t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	late := token("late", "--valid", "1s")
	expired := time.Now().Add(1100 * time.Millisecond)
	used := token("fine")
	if out, err := h.joinWith("c", "fine", h.path("fine"), used); err != nil {
		h.t.Errorf("a token was not taken: %v: %s", err, out)
	}
	time.Sleep(time.Until(expired))
	for text, want := range map[string]string{
		used: "the controller refuses fine: the token was used already; make a new token on the controller",
		late: "the controller refuses late: the token has expired; make a new token on the controller",
	} {
		name := strings.TrimSuffix(strings.Fields(want)[3], ":")
		if out, err := h.joinWith("c", name, h.path("x-"+name), text); err == nil || !strings.Contains(out, want) {
			h.t.Errorf("got %q, want %q", out, want)
		}
		h.logged("Somebody was not enrolled", name)
	}
}

// ports: what listens on any host, and can be reached from another, is the controller's port, which is nothing without a certificate, or
// ZeroMQ with CURVE. Metrics listen on loopback unless the file says otherwise.
func (h *hosts) ports() {
	h.t.Helper()
	found := map[string]int{}
	for _, host := range allHosts {
		out, err := h.on(h.t.Context(), host, "ss", "-H", "-l", "-t", "-n", "-p").Output()
		if err != nil {
			h.t.Fatalf("ss: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if len(f) < 4 {
				continue
			}
			at, port, err := net.SplitHostPort(strings.Replace(f[3], "*:", "0.0.0.0:", 1))
			if err != nil {
				h.t.Fatal(err)
			}
			if ip := net.ParseIP(at); ip != nil && ip.IsLoopback() {
				found["loopback"]++
				continue
			}
			to := net.JoinHostPort(address(host), port)
			switch {
			case host == controllerHost && port == "2150":
				found["hub"]++
				h.hubIsShut(to)
			default:
				found["curve"]++
				h.isCurve(host, to, line)
			}
		}
	}
	h.t.Logf("ports: %v", found)
	if found["hub"] != 1 || found["curve"] != 3 || found["loopback"] == 0 {
		h.t.Errorf("listening: %v, want the hub, the broker's two, and the logger's", found)
	}
}

// hubIsShut: without TLS nobody is told anything, and without a certificate nobody can do more than ask to be enrolled.
func (h *hosts) hubIsShut(to string) {
	h.t.Helper()
	for _, say := range []string{"", "CONNECT {\"verbose\":true}\r\nPING\r\nSUB > 1\r\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\xff", 2000)} {
		c, err := h.dial("b", to)
		if err != nil {
			h.t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(waitLong))
		_, err = io.WriteString(c, say)
		got, rerr := io.ReadAll(c)
		_ = c.Close()
		if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) || errors.Is(rerr, os.ErrDeadlineExceeded) {
			h.t.Errorf("garbage: %v, %v", err, rerr)
		}
		const alert = 21 // of TLS
		if len(got) > 0 && (got[0] != alert || len(got) != 7) {
			h.t.Errorf("whoever says %.20q is told %q", say, got)
		}
	}
	stranger := func(o ...nats.Option) (*nats.Conn, chan error, error) {
		errs := make(chan error, 10)
		c, err := nats.Connect("tls://"+to, append([]nats.Option{nats.SetCustomDialer(from{h, "b"}), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(waitLong),
			nats.Secure(&tls.Config{InsecureSkipVerify: true}), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err })}, o...)...)
		return c, errs, err
	}
	for name, o := range map[string][]nats.Option{
		"nobody": nil, "who names himself": {nats.UserInfo("zeekrec-controller", "x")}, "a pattern": {nats.UserInfo("*", "")}, "a token": {nats.Token("x")},
	} {
		if c, _, err := stranger(o...); err == nil {
			h.t.Errorf("%s is let in without a certificate", name)
			c.Close()
		}
	}
	c, errs, err := stranger(nats.UserInfo("ABCDEFGH", ""), nats.CustomInboxPrefix(subjects.EnrolInboxPrefix("ABCDEFGH")))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	for _, subject := range []string{">", "zr.v1.>", "zr.v1.ask.a", "_INBOX.>", "_INBOX_enrol_>", "$SYS.>"} {
		if _, err := c.SubscribeSync(subject); err != nil {
			h.t.Fatal(err)
		}
		if err := c.FlushTimeout(waitLong); err != nil {
			h.t.Fatal(err)
		}
		select {
		case err := <-errs:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				h.t.Errorf("a stranger was told %v", err)
			}
		case <-time.After(waitLong):
			h.t.Errorf("a stranger may use %s", subject)
		}
	}
	_, err = subjects.Enrol(h.t.Context(), c, subjects.EnrolRequest{Secret: "guessed", Name: "b", Request: []byte("x")})
	if err == nil {
		h.t.Error("a stranger is enrolled without a token")
	}
}

// greeting is how a ZeroMQ client begins: ZMTP 3.1, with a mechanism.
func greeting(mechanism string) []byte {
	g := make([]byte, 64)
	g[0], g[8], g[9], g[10], g[11] = 0xff, 1, 0x7f, 3, 1
	copy(g[12:32], mechanism)
	return g
}

// isCurve: a port says CURVE to who wants that, and who does not is told no more than its greeting.
func (h *hosts) isCurve(host, to, line string) {
	h.t.Helper()
	other := "a"
	if host == "a" {
		other = "b"
	}
	for _, mechanism := range []string{"CURVE", "NULL", "PLAIN"} {
		c, err := h.dial(other, to)
		if err != nil {
			h.t.Errorf("%s: %v: %s", host, err, line)
			return
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Write(greeting(mechanism))
		got := make([]byte, 64)
		if err == nil {
			_, err = io.ReadFull(c, got)
		}
		said := string(bytes.TrimRight(got[12:32], "\x00"))
		switch {
		case mechanism == "CURVE" && (err != nil || said != "CURVE"):
			h.t.Errorf("%s: it says %q, %v: %s", host, said, err, line)
		case mechanism != "CURVE" && err == nil && said != "CURVE":
			h.t.Errorf("%s: who says %s is answered %q: %s", host, mechanism, said, line)
		case mechanism != "CURVE" && err == nil:
			// READY, as if there were no mechanism: "Socket-Type" is SUB.
			ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
			_, _ = c.Write(append([]byte{4, byte(len(ready))}, ready...))
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			if more, _ := io.ReadAll(c); bytes.Contains(more, []byte("READY")) {
				h.t.Errorf("%s: who says %s is let in: %s", host, mechanism, line)
			}
		}
		_ = c.Close()
	}
}
