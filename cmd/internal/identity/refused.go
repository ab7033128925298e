package identity

import "fmt"

// Why somebody is refused. The values are for programs: they go over the wire, and stay as they are.
type Why string

// The reasons.
const (
	BadName            Why = "bad-name"            // the name is none for an agent
	BadRequest         Why = "bad-request"         // the request for a certificate cannot be used
	TokenUnknown       Why = "token-unknown"       // the controller has not made that token, or has forgotten it
	TokenExpired       Why = "token-expired"       // it was not used in time
	TokenUsed          Why = "token-used"          // another agent, or one with another key, has used it
	TokenForAnother    Why = "token-for-another"   // it is for another name
	NameTaken          Why = "name-taken"          // an agent of that name is there, with another key
	TooMany            Why = "too-many"            // there are as many agents as a controller takes
	NotKnown           Why = "not-known"           // no agent of that name is in the registry
	NotApproved        Why = "not-approved"        // it is pending
	WasRevoked         Why = "revoked"             // it was revoked
	OtherKey           Why = "other-key"           // the registry has another key for that name
	CertificateExpired Why = "certificate-expired" // the certificate has expired, or is not valid yet
	CertificateForeign Why = "certificate-foreign" // it is no agent's certificate of this controller
)

// Refused says that the controller does not do what an agent asked it for. No retry helps, but for that of NotApproved.
type Refused struct {
	Why  Why
	Name string // of the agent, as it calls itself; never longer than a name may be
	Err  error  // what is wrong in detail, for BadName and BadRequest
}

// Error is what the agent's user reads.
func (r *Refused) Error() string {
	const anew = "make a new token on the controller"
	var text string
	switch r.Why {
	case BadName, BadRequest:
		return fmt.Sprintf("the controller refuses the request: %v", r.Err)
	case TokenUnknown:
		text = "it does not know the token; " + anew
	case TokenExpired:
		text = "the token has expired; " + anew
	case TokenUsed:
		text = "the token was used already; " + anew
	case TokenForAnother:
		text = "the token is for an agent of another name; use that name, or " + anew
	case NameTaken:
		text = "there is an agent of that name with another key; if this is its host, built anew, make a token for that name on the controller, else choose another name"
	case TooMany:
		text = fmt.Sprintf("it has %d agents already", maxAgents)
	case NotKnown:
		text = "it has no agent of that name; " + anew + " and enrol"
	case NotApproved:
		text = "it was not approved yet"
	case WasRevoked:
		text = "it was revoked; " + anew + " and enrol again to let it in"
	case OtherKey:
		text = "the agent of that name has another key by now; " + anew + " and enrol again"
	case CertificateExpired:
		text = "its certificate is not valid at this time; look at the clocks of both hosts, or " + anew + " and enrol again"
	case CertificateForeign:
		text = "its certificate is not one that this controller has made for an agent"
	default:
		text = string(r.Why)
	}
	return fmt.Sprintf("the controller refuses %s: %s", r.Name, text)
}

// Unwrap gives the detail.
func (r *Refused) Unwrap() error { return r.Err }

// refuse makes a Refused. A name from outside is cut, so that it can be printed.
func refuse(why Why, name string) *Refused {
	if CheckName(name) != nil {
		name = "an agent without a proper name"
	}
	return &Refused{Why: why, Name: name}
}
