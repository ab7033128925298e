package hooks

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/ini.v1"

	"github.com/zeekrec/zeekrec/reconciler/engine/news"
)

// Hook is one that is told.
type Hook struct {
	Name string
	On   []news.Kind
	// Command and its arguments, or else URL.
	Command []string
	URL     string
	// Secret to sign what is posted with; empty: it is not signed.
	Secret string
}

// ReadFile reads the hooks of an INI file, in its order: a section for each. Errors name file and section.
func ReadFile(path string) ([]Hook, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the hooks: %w", err)
	}
	f, err := ini.LoadSources(ini.LoadOptions{KeyValueDelimiters: "=", IgnoreInlineComment: true}, b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the hooks in %s: %w", path, err)
	}
	var hs []Hook
	for _, s := range f.Sections() {
		if s.Name() == ini.DefaultSection {
			if len(s.Keys()) > 0 {
				return nil, fmt.Errorf("cannot use the hooks in %s: %q is in no section; begin one with the name of a hook: [chat]", path, s.Keys()[0].Name())
			}
			continue
		}
		h, err := read(s)
		if err != nil {
			return nil, fmt.Errorf("cannot use the hook [%s] in %s: %w", s.Name(), path, err)
		}
		hs = append(hs, h)
	}
	return hs, nil
}

func read(s *ini.Section) (Hook, error) {
	h := Hook{Name: s.Name(), On: news.Kinds()}
	for _, k := range s.Keys() {
		switch v := k.Value(); k.Name() {
		case "on":
			h.On = nil
			for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }) {
				if !slices.Contains(news.Kinds(), news.Kind(word)) {
					return h, fmt.Errorf("there is no news of kind %q (there are: %v)", word, news.Kinds())
				}
				h.On = append(h.On, news.Kind(word))
			}
		case "command":
			h.Command = strings.Fields(v)
			if len(h.Command) > 0 && !filepath.IsAbs(h.Command[0]) {
				return h, fmt.Errorf("the command %q is no absolute path", h.Command[0])
			}
		case "url":
			u, err := url.Parse(v)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				return h, fmt.Errorf("the url is none of http or https") // and is not repeated: it may be a secret
			}
			h.URL = v
		case "secret":
			h.Secret = v
		default:
			return h, fmt.Errorf("there is no key %q (there are: on, command, url, secret)", k.Name())
		}
	}
	switch {
	case len(h.Command) == 0 && h.URL == "":
		return h, fmt.Errorf("it has neither command nor url")
	case len(h.Command) > 0 && h.URL != "":
		return h, fmt.Errorf("it has both command and url; make two hooks of it")
	case len(h.Command) > 0 && h.Secret != "":
		return h, fmt.Errorf("a secret signs what is posted; a command gets none")
	case len(h.On) == 0:
		return h, fmt.Errorf("on names nothing")
	}
	return h, nil
}
