//go:build !linux

package api

import (
	"net"
	"os/user"
)

// peer is the owner of the socket: nobody else can connect to it.
func peer(net.Conn) string {
	if who, err := user.Current(); err == nil {
		return who.Username
	}
	return ""
}
