package main

import (
	"fmt"
	"slices"
	"strings"
)

// options are what the command line says, as far as the stand-in cares.
type options struct {
	bare, parseOnly, help, version, plugins bool

	iface      string
	hasIface   bool
	statusFile string
	code       string
	scripts    []string
	params     []string // var=value

	pluginsWanted []string // Name::Of
}

// option is one of Zeek's options; the order is that of zeek --help.
type option struct {
	short byte // 0: none
	long  string
	value bool // wants a value
}

var zeekOptions = []option{
	{'a', "parse-only", false},
	{'b', "bare-mode", false},
	{'c', "capture-unprocessed", true},
	{'d', "debug-script", false},
	{'e', "exec", true},
	{'f', "filter", true},
	{'h', "help", false},
	{'i', "iface", true},
	{'p', "prefix", true},
	{'r', "readfile", true},
	{'s', "rulefile", true},
	{'t', "tracefile", true},
	{'u', "usage-issues", false},
	{0, "no-unused-warnings", false},
	{'v', "version", false},
	{'V', "build-info", false},
	{'w', "writefile", true},
	{'C', "no-checksums", false},
	{'D', "deterministic", false},
	{'E', "event-trace", true},
	{'F', "force-dns", false},
	{'G', "load-seeds", true},
	{'H', "save-seeds", true},
	{'I', "print-id", true},
	{'N', "print-plugins", false},
	{'O', "optimize", true},
	{'P', "prime-dns", false},
	{'Q', "time", false},
	{'S', "debug-rules", false},
	{'T', "re-level", true},
	{'U', "status-file", true},
	{'W', "watchdog", false},
	{'X', "zeekygen", true},
	{'j', "jobs", false},
}

// parseArgs reads the command line as getopt_long does: options may stand after
// scripts, short ones may be joined, a long one may be shortened to what is still
// unique, "--" ends them and is followed by one script.
func parseArgs(args []string) (*options, error) {
	o := new(options)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			if len(args) > 0 { // what follows the script are its own arguments
				o.positional(args[0])
			}
			return o, nil
		case strings.HasPrefix(arg, "--"):
			name, value, joined := strings.Cut(arg[2:], "=")
			i, err := findLong(name)
			if err != nil {
				return nil, err
			}
			if zeekOptions[i].value && !joined {
				if len(args) == 0 {
					return nil, zeekSays("Option --%s requires an argument.", name)
				}
				value, args = args[0], args[1:]
			}
			if err := o.set(zeekOptions[i].long, value); err != nil {
				return nil, err
			}
		case len(arg) > 1 && arg[0] == '-':
			rest, err := o.short(arg[1:], args)
			if err != nil {
				return nil, err
			}
			args = rest
		default:
			o.positional(arg)
		}
	}
	return o, nil
}

// short carries out joined short options and returns the arguments that they left.
func (o *options) short(letters string, args []string) ([]string, error) {
	for i := range len(letters) {
		f := slices.IndexFunc(zeekOptions, func(f option) bool { return f.short == letters[i] })
		if f < 0 {
			return nil, zeekSays("Unrecognized option -%c", letters[i])
		}
		if !zeekOptions[f].value {
			if err := o.set(zeekOptions[f].long, ""); err != nil {
				return nil, err
			}
			continue
		}
		value := letters[i+1:]
		if value == "" {
			if len(args) == 0 {
				return nil, zeekSays("Option -%c requires an argument.", letters[i])
			}
			value, args = args[0], args[1:]
		}
		return args, o.set(zeekOptions[f].long, value)
	}
	return args, nil
}

func findLong(name string) (int, error) {
	found := -1
	for i, f := range zeekOptions {
		if f.long == name {
			return i, nil
		}
		if strings.HasPrefix(f.long, name) && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return 0, zeekSays("Unrecognized option --%s", name)
	}
	return found, nil
}

func (o *options) set(long, value string) error {
	switch long {
	case "parse-only":
		o.parseOnly = true
	case "bare-mode":
		o.bare = true
	case "help":
		o.help = true
	case "version":
		o.version = true
	case "print-plugins":
		o.plugins = true
	case "exec":
		o.code = value // a second one replaces the first, as with Zeek
	case "status-file":
		o.statusFile = value
	case "iface":
		if o.hasIface {
			return zeekSays("Only a single interface option (-i) is allowed.")
		}
		o.iface, o.hasIface = value, true
	case "readfile", "jobs", "print-id", "build-info", "writefile", "zeekygen":
		return fmt.Errorf("option --%s is not supported by the zeekrec stand-in, which is not Zeek", long)
	}
	return nil
}

func (o *options) positional(arg string) {
	switch {
	case strings.Contains(arg, "="):
		o.params = append(o.params, arg)
	case strings.Contains(arg, "::"):
		o.pluginsWanted = append(o.pluginsWanted, arg)
	default:
		o.scripts = append(o.scripts, arg)
	}
}
