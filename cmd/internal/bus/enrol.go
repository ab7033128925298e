package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// enrolWithin is how long an answer to a request to be enrolled may take.
const enrolWithin = 15 * time.Second

// errNotTheirs: who asks wants the answer to go where he may not write himself.
var errNotTheirs = errors.New("its answer is wanted in somebody else's inbox")

// EnrolRequest is what somebody sends who has a token.
type EnrolRequest struct {
	Secret  string `json:"secret"`
	Name    string `json:"name"`
	Request []byte `json:"request"` // a certificate request, PEM
}

// Authority decides who is enrolled; *identity.Authority is one.
type Authority interface {
	Enrol(secret, name string, csrPEM []byte) (identity.Enrolled, error)
	Renew(name string, csrPEM []byte) (certPEM []byte, err error)
}

// ServeEnrolment answers those who want to be enrolled, and agents whose certificate is to be renewed, as long as the connection lasts.
func ServeEnrolment(conn *nats.Conn, a Authority, log *slog.Logger) error {
	serve := func(subject string, f func(m *nats.Msg) (any, error)) error {
		_, err := conn.Subscribe(subject, func(m *nats.Msg) {
			v, err := f(m)
			if errors.Is(err, errNotTheirs) {
				log.Warn("A request was not answered", "subject", m.Subject, "error", err)
				return
			}
			if err != nil {
				log.Warn("Somebody was not enrolled", "error", err)
			}
			b, err := json.Marshal(answerOf(v, err))
			if err == nil {
				err = m.Respond(b)
			}
			if err != nil {
				log.Warn("Cannot answer who is to be enrolled", "error", err)
			}
		})
		return err
	}
	err := serve(EnrolSubject, func(m *nats.Msg) (any, error) {
		if !strings.HasPrefix(m.Reply, EnrolInboxPrefix("")) {
			return nil, errNotTheirs
		}
		var r EnrolRequest
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return nil, errors.New("cannot read what is asked")
		}
		got, err := a.Enrol(r.Secret, r.Name, r.Request)
		if err == nil {
			log.Info("An agent was enrolled", "agent", r.Name, "pending", got.Pending)
		}
		return got, err
	})
	if err == nil {
		err = serve(renewSubject+"*", func(m *nats.Msg) (any, error) {
			name, err := url.PathUnescape(strings.TrimPrefix(m.Subject, renewSubject))
			if err != nil || !InInbox(name, m.Reply) {
				return nil, errNotTheirs
			}
			return a.Renew(name, m.Data)
		})
	}
	if err != nil {
		return fmt.Errorf("cannot enrol agents: %w", err)
	}
	return nil
}

// Enrol asks to be enrolled.
func Enrol(ctx context.Context, conn *nats.Conn, r EnrolRequest) (identity.Enrolled, error) {
	var got identity.Enrolled
	b, err := json.Marshal(r)
	if err != nil {
		return got, fmt.Errorf("cannot join: %w", err)
	}
	err = request(ctx, conn, EnrolSubject, b, &got)
	return got, err
}

// Renew asks for another certificate for an agent's key.
func Renew(ctx context.Context, conn *nats.Conn, instance string, csrPEM []byte) (certPEM []byte, err error) {
	err = request(ctx, conn, RenewSubject(instance), csrPEM, &certPEM)
	return certPEM, err
}

// request asks the controller.
func request(ctx context.Context, conn *nats.Conn, subject string, body []byte, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, enrolWithin, fmt.Errorf("it does not answer within %s", enrolWithin))
	defer cancel()
	m, err := conn.RequestWithContext(ctx, subject, body)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot ask the controller: %w", err)
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("cannot read the controller's answer: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error) // it begins with who says it
	}
	return json.Unmarshal(a.Body, into)
}
