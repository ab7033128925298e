// Package sdnotify tells the service manager how a long-running command is (sd_notify(3)): that it serves, what it does, that it
// lives, that it ends.
//
//	s, err := sdnotify.Open(log)
//	go s.Run(ctx, func(ctx context.Context) (string, error) {
//		status, err := engine.Status(ctx)              // goes through the main loop
//		…
//		return "2 clusters: all synced and healthy", nil
//	})
//	<-signals.Done()
//	s.Stopping()
//
// # Invariants
//
//   - READY=1 and WATCHDOG=1 follow an answer of the main loops, and nothing else: there is no ticker that goes on when they do not.
//     A loop that hangs is reported in STATUS= and in the log, and then it is the service manager that ends the process.
//   - After Stopping nothing is said any more: a process that ends is not watched.
//   - Without a service manager that asks for it nothing is sent, and nobody is asked.
package sdnotify
