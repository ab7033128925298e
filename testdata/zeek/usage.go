package main

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// usage is the text of --help; where Zeek has one, the line has Zeek's form.
func usage(name string, getenv func(string) string) string {
	path := getenv("ZEEKPATH")
	if path == "" {
		path = script.DefaultPath
	}
	var b strings.Builder
	fmt.Fprintf(&b, "zeek version %s\nusage: %s [options] [file ...]\n", version(), name)
	line := func(left, right string) { fmt.Fprintf(&b, "    %-31s | %s\n", left, right) }
	line("<file>", "Zeek script file")
	line("-a|--parse-only", "exit immediately after parsing scripts")
	line("-b|--bare-mode", "don't load scripts from the base/ directory")
	line("-C|--no-checksums", "ignore checksums")
	line("-e|--exec <zeek code>", "augment loaded scripts by given code")
	line("-h|--help", "command line help")
	line("-i|--iface <interface>", "read from given interface (only one allowed)")
	line("-N|--print-plugins", "print available plugins and exit")
	line("-p|--prefix <prefix>", "add given prefix to Zeek script file resolution")
	line("-U|--status-file <file>", "Record process status in file")
	line("-v|--version", "print version and exit")
	line("$ZEEKPATH", "file search path ("+path+")")
	line("$CLUSTER_NODE", "name of this node in cluster-layout.zeek")
	for _, v := range faultVariables {
		line("$"+v.name, v.help)
	}
	b.WriteString("Zeek's other options are accepted and ignored, or refused.\n")
	return b.String()
}
