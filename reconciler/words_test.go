package reconciler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
)

func TestReason(t *testing.T) {
	var many []string
	for i := range 17 {
		many = append(many, fmt.Sprintf("w%02d", i))
	}
	for _, tt := range []struct {
		field    string
		relation desired.Relation
		from, to []string
		want     string
	}{
		{"interface", desired.Equal, []string{"eth0"}, []string{"eth1"}, "eth0 -> eth1"},
		{"interface", desired.Equal, []string{"eth0"}, nil, "eth0 -> "},
		{"scripts", desired.Equal, []string{"a", "b"}, []string{"a", "c"}, "-b -> +c"},
		{"scripts", desired.Equal, []string{"a", "b"}, []string{"b", "a"}, "a, b -> b, a"},
		{"workers", desired.Cover, []string{"old", "w1"}, []string{"w1", "w2"}, " -> +w2"},
		{"workers", desired.Cover, nil, many, " -> +w00, +w01, +w02, +w03, +w04, … 12 more"},
		{"workers", desired.Cover, nil, many[:6], " -> +w00, +w01, +w02, +w03, +w04, +w05"},
		{"proxies", desired.Cover, []string{"key=10.0.0.1:1"}, nil, "key=10.0.0.1:1 -> "},
		{"env", desired.Equal, []string{"A=1"}, []string{"A=2"}, "A -> A (changed)"},
		{"env", desired.Equal, []string{"A=1", "API_TOKEN=hunter2"}, []string{"A=1", "API_TOKEN=hunter3"}, "API_TOKEN -> API_TOKEN (changed)"},
		{"env", desired.Equal, nil, []string{"DB_PWD=hunter2", "PLAIN=hunter2"}, " -> +DB_PWD, +PLAIN"},
		{"env", desired.Equal, []string{"A=hunter", "B=hunter"}, []string{"A=hunter2"}, "-B, A -> A (changed)"},
		{"env", desired.Equal, []string{"A=hunter", "B=hunter"}, []string{"A=hunter2", "C=hunter"}, "-B -> +C, A (changed)"},
		{"env", desired.Equal, []string{"A=hunter"}, []string{"A=hunter2", "C=hunter"}, " -> +C, A (changed)"},
		{"env", desired.Equal, []string{"A=hunter", "B=hunter"}, []string{"A=hunter"}, "-B -> "},
		{"env", desired.Equal, []string{"A=hunter2"}, []string{"B=hunter2"}, "-A -> +B"},
		{"env", desired.Equal, nil, []string{"PROXY=http://u:hunter2@h/p"}, " -> +PROXY"},
		{"args", desired.Equal, nil, []string{"X::proxy=http://u:hunter2@h/p"}, " -> X::proxy=http://(hidden)@h/p"},
		{"args", desired.Equal, nil, []string{"X::db_pwd=hunter2"}, " -> X::db_pwd=(hidden)"},
		{"args", desired.Equal, nil, []string{"X::proxies=http://h/ https://u:hunter2@h"}, " -> X::proxies=http://h/ https://(hidden)@h"},
		{"args", desired.Equal, nil, []string{`A::b=T X::smtp_password="hunter2"`}, " -> A::b=T X::smtp_password=(hidden)"},
		{"options", desired.Equal, nil, []string{`Notice::api_key = "hunter2"`}, " -> Notice::api_key =(hidden)"},
		{"options", desired.Equal, nil, []string{`X::keys += { "hunter2" }`}, " -> X::keys +=(hidden)"},
		{"options", desired.Equal, nil, []string{`X::password: string = "hunter2"`}, " -> X::password:(hidden)"},
		{"options", desired.Equal, nil, []string{`X::settings = { ["psk"] = "hunter2" }`}, ` -> X::settings = { ["psk"(hidden)`},
		{"options", desired.Equal, nil, []string{`X::auth::a = "hunter2"`}, " -> X::auth::a =(hidden)"},
		{"options", desired.Equal, nil, []string{`X::json = "{'Cookie':'hunter2'}"`}, ` -> X::json = "{'Cookie'(hidden)`},
		{"args", desired.Equal, nil, []string{`X::dsn="a b hunter2"`, "X::Private='hunter2'", "tokens.zeek"}, " -> +X::dsn=(hidden), +X::Private=(hidden), +tokens.zeek"},
		{"args", desired.Equal, nil, []string{`İ::Password: string = "hunter2"`}, " -> İ::Password:(hidden)"},
		{"args", desired.Equal, nil, []string{"--token", "hunter2", "-C"}, " -> +--token, +(hidden), +-C"},
		{"args", desired.Equal, nil, []string{"a\x1b[31mb"}, ` -> "a\x1b[31mb"`},
		{"args", desired.Equal, nil, []string{strings.Repeat("ä", 100)}, " -> " + strings.Repeat("ä", 79) + "…"},
	} {
		r := part{tt.field, tt.relation, tt.from, tt.to}.reason()
		if got := r.From + " -> " + r.To; got != tt.want {
			t.Errorf("%s %q to %q:\n got %s\nwant %s", tt.field, tt.from, tt.to, got, tt.want)
		}
		if strings.Contains(r.From+r.To, "hunter") {
			t.Errorf("%s shows a secret: %+v", tt.field, r)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("API_TOKEN=", "x")
	f.Add("A=1 X::password = ", "hunter")
	f.Fuzz(func(t *testing.T, prefix, secret string) {
		v := prefix + " MY_SECRET=" + secret
		if got := redact(v); !strings.HasSuffix(got, hiddenText) || len(got) > len(v)+len(hiddenText) {
			t.Errorf("%q became %q", v, got)
		}
		v = prefix + ` ["MY_PSK"] = "` + secret
		if got := redactText(v); !strings.HasSuffix(got, hiddenText) || len(got) > len(v)+len(hiddenText)*(1+strings.Count(v, "://")) {
			t.Errorf("%q became %q", v, got)
		}
	})
}
