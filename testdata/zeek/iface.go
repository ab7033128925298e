package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// openInterface checks the argument of -i as Zeek's packet sources do when they
// open it, and announces it. Nothing is opened.
func openInterface(name string) error {
	kind, device, prefixed := strings.Cut(name, "::")
	if !prefixed {
		kind, device = "pcap", name
	}
	if kind != "pcap" && kind != "af_packet" {
		return zeekSays("fatal error: type of packet source '%s' not recognized, or mode not supported", kind)
	}
	if device == "" {
		device = firstInterface()
	}
	packet := kind == "af_packet"
	iface, err := net.InterfaceByName(device)
	switch {
	case err != nil && packet:
		return problemWith(name, "unable to get interface information: No such device")
	case err != nil:
		return problemWith(name, "pcap_error: No such device exists (pcap_activate)")
	case iface.Flags&net.FlagUp == 0 && packet:
		return problemWith(name, "interface is down")
	case iface.Flags&net.FlagUp == 0:
		return problemWith(name, "pcap_error: That device is not up (pcap_activate)")
	}
	if packet && iface.Flags&net.FlagLoopback != 0 {
		fmt.Fprintf(os.Stderr, "warning: AF_Packet: %s is a loopback interface!\n", device)
	}
	fmt.Fprintf(os.Stderr, "listening on %s\n\n", device)
	return nil
}

func problemWith(name, reason string) error {
	return zeekSays("fatal error: problem with interface %s (%s)", name, reason)
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
