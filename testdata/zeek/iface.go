package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// openInterface checks the argument of -i as Zeek's packet sources do when they
// open it, and announces it. Nothing is opened.
func openInterface(name string, r reporter) error {
	kind, _, prefixed := strings.Cut(name, "::")
	packet := prefixed && kind == "af_packet"
	if prefixed && !packet && kind != "pcap" {
		return r.problem("fatal error", "type of packet source '%s' not recognized, or mode not supported", kind)
	}
	device := deviceOf(name)
	problem := func(reason string) error {
		return r.problem("fatal error", "problem with interface %s (%s)", name, reason)
	}
	iface, err := net.InterfaceByName(device)
	switch {
	case err != nil && packet:
		return problem("unable to get interface information: No such device")
	case err != nil:
		return problem("pcap_error: No such device exists (pcap_activate)")
	case iface.Flags&net.FlagUp == 0 && packet:
		return problem("interface is down")
	case iface.Flags&net.FlagUp == 0:
		return problem("pcap_error: That device is not up (pcap_activate)")
	}
	if packet && iface.Flags&net.FlagLoopback != 0 {
		fmt.Fprintf(os.Stderr, "warning: AF_Packet: %s is a loopback interface!\n", device)
	}
	r.say("listening on " + device + "\n")
	return nil
}

// deviceOf is the interface that the argument of -i stands for.
func deviceOf(name string) string {
	if _, device, prefixed := strings.Cut(name, "::"); prefixed {
		name = device
	}
	if name == "" {
		return firstInterface()
	}
	return name
}

// firstInterface is what an empty -i means to libpcap, and thus, silently, to Zeek.
func firstInterface() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	first := ""
	for _, i := range interfaces {
		switch {
		case i.Flags&net.FlagUp == 0:
		case i.Flags&net.FlagLoopback == 0:
			return i.Name
		case first == "":
			first = i.Name
		}
	}
	return first
}
