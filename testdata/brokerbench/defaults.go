package main

import (
	"context"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// defaultRun is what zeekrec's default policy delivers and drops at full speed, per second.
type defaultRun struct {
	Name    string  `json:"name"`
	Rate    float64 `json:"rate"`
	Dropped float64 `json:"dropped"`
	CPU     float64 `json:"cpu_per_million"`
}

// defaults measures one case with it.
func (b *bench) defaults(ctx context.Context, c testCase) (defaultRun, error) {
	r := defaultRun{Name: c.String()}
	var rates, drops, cpus []float64
	for range b.rounds {
		f, err := b.full(ctx, b.zeekrec, c, nil)
		if err != nil {
			return r, err
		}
		rates = append(rates, f.Rate)
		cpus = append(cpus, f.CPU)
		drops = append(drops, float64(f.Lost)/b.window.Seconds())
	}
	r.Rate, r.Dropped, r.CPU = figures.Median(rates), figures.Median(drops), figures.Median(cpus)
	return r, nil
}
