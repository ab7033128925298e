// Command zeekrec keeps running Zeek clusters equal to a folder of cluster.cfg files.
// Try: zeekrec help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/zeekrec/zeekrec/cmd/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends it at once
	os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
