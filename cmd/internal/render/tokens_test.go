package render

import (
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

func TestTokens(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	got := Tokens([]api.Token{
		{Name: "anna", Role: api.RoleOperate, Since: now.Add(-time.Hour), By: "root", Expires: now.Add(time.Minute), Used: now.Add(-5 * time.Minute)},
		{Name: "late", Role: api.RoleView, Since: now.Add(-time.Hour), By: "root", Expires: now},
	}, Options{Now: now})
	var rows []string
	for line := range strings.Lines(got) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"NAME ROLE SINCE BY LAST USED EXPIRES",
		"anna operate 11:00:00 root 5 min ago 2026-11-21 12:01",
		"late view 11:00:00 root never 2026-11-21 12:00, expired",
	}
	if strings.Join(rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s", strings.Join(rows, "\n"))
	}
	if got, want := Tokens(nil, Options{}), "there are no tokens; to make one: zeekrec tokens new NAME --role view\n"; got != want {
		t.Errorf("got %q", got)
	}
}
