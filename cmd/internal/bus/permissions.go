package bus

import (
	"strings"
	"time"
)

// Subjects. An instance is one token of them: see token.
const (
	subjects      = "zr.v1."
	reportSubject = subjects + "report." // + instance: reports and beats, from the agent
	askSubject    = subjects + "ask."    // + instance: requests, to the agent
	wantSubject   = subjects + "want."   // + instance: a report is wanted, to the agent
	streamSubject = subjects + "stream." // + instance + "." + id: pieces of a stream, requests from the agent
	cancelSubject = subjects + "cancel." // + instance: a stream, whose id it holds, is not wanted any more, to the agent
	renewSubject  = subjects + "renew."  // + instance: requests, from the agent

	// EnrolSubject is where whoever has no more than a token asks to become an agent, by a request.
	EnrolSubject = subjects + "enrol"

	// everybody is the token that asks all agents for a report. No instance has it.
	everybody = "_all"

	inboxPrefix = "_INBOX_"
)

// ReplyWithin is how long an agent may take for an answer: a server's allow_responses has to let one message through for that long. The
// longest calls are checks of a plan, with a minute and a half and a second for each of its actions.
const ReplyWithin = 30 * time.Minute

// AgentSubjects are the subjects that the agent of an instance uses. None of them is also another instance's, but for the one
// on which all are asked for a report. Answers to requests it may publish besides, within [ReplyWithin] each.
func AgentSubjects(instance string) (publish, subscribe []string) {
	me := token(instance)
	return []string{reportSubject + me, streamSubject + me + ".>", renewSubject + me},
		[]string{askSubject + me, wantSubject + me, wantSubject + everybody, cancelSubject + me, InboxPrefix(instance) + ".>"}
}

// EnrolSubjects are the subjects of a connection that has only a token. id is the connection's own, and hard to guess.
func EnrolSubjects(id string) (publish, subscribe []string) {
	return []string{EnrolSubject}, []string{EnrolInboxPrefix(id) + ".>"}
}

// ControllerSubjects are the subjects that a controller uses: all that are zeekrec's, and its inbox, which is where NATS has it. Answers
// to requests it may publish besides.
func ControllerSubjects() (publish, subscribe []string) {
	return []string{subjects + ">"}, []string{subjects + ">", "_INBOX.>"}
}

// RenewSubject is where the agent of an instance asks for what lets it in from then on, by a request.
func RenewSubject(instance string) string { return renewSubject + token(instance) }

// InboxPrefix is where the agent of an instance receives answers: its connection is made with nats.CustomInboxPrefix of it.
func InboxPrefix(instance string) string { return inboxPrefix + token(instance) }

// EnrolInboxPrefix is where a connection that has only a token receives answers. It is no instance's inbox, whatever the id.
func EnrolInboxPrefix(id string) string { return inboxPrefix + "enrol_" + token(id) }

// InInbox reports whether a subject is in the inbox of an instance. Whoever answers an agent has to ask first: an agent could name
// any subject as the one to answer on, and have a controller write where it may not itself.
func InInbox(instance, subject string) bool {
	rest, ok := strings.CutPrefix(subject, InboxPrefix(instance)+".")
	return ok && rest != "" && !strings.ContainsAny(rest, "*> ")
}

// token is an instance's name as one token of a subject: names may have dots, as hosts' names do, and NATS splits at those. All
// bytes but letters, digits and hyphens are escaped, so that what has an underscore is no instance's.
func token(instance string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(instance) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
