package clustercfg

import "time"

// Span reads a duration as it is written in files: "90d", "1h", and sums of those ("1h30m"). It is at least a second.
func Span(s string) (time.Duration, error) { return span(time.Second)(s) }
