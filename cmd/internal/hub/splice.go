package hub

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// splice copies between two connections until one of them ends, or ctx does, and closes both.
func splice(ctx context.Context, a, b net.Conn) error {
	var once sync.Once
	end := func() { once.Do(func() { _, _ = a.Close(), b.Close() }) }
	defer context.AfterFunc(ctx, end)()
	done := make(chan error, 2)
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, err := io.Copy(d[0], d[1])
			end()
			done <- err
		}()
	}
	return errors.Join(<-done, <-done)
}
