package bus

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/zeekrec/zeekrec/observed"
)

// errParts: what a report says of its resources' parts makes no sense.
var errParts = errors.New("its resources refer to parts that are not there, or not in their order")

// partsTable has the parts of a report's resources, each once: the nodes of a host have most of them in common, and a report with all of
// them for each is several times as large, and takes as much longer to read.
type partsTable struct {
	Parts []observed.Part `json:"parts"`
	// Of says for each resource which parts it has, by their places in Parts.
	Of [][]int `json:"of"`
}

// gather takes the parts out of a report; nothing of the report itself is changed.
func gather(r *observed.Report) (*observed.Report, *partsTable) {
	bare, t := *r, &partsTable{Of: make([][]int, len(r.Resources))}
	bare.Resources = slices.Clone(r.Resources)
	places := map[string]int{}
	var key []byte
	for i := range bare.Resources {
		parts := bare.Resources[i].Parts
		bare.Resources[i].Parts = nil
		of := make([]int, len(parts))
		for k, p := range parts {
			key = appendPart(key[:0], p)
			at, known := places[string(key)]
			if !known {
				at = len(t.Parts)
				places[string(key)] = at
				t.Parts = append(t.Parts, *p)
			}
			of[k] = at
		}
		t.Of[i] = of
	}
	return &bare, t
}

// spread gives the resources of a report their parts, which they share.
func (t *partsTable) spread(r *observed.Report) error {
	if len(t.Of) != len(r.Resources) {
		return errParts
	}
	for i, of := range t.Of {
		parts := make(observed.Parts, len(of))
		for k, at := range of {
			if at < 0 || at >= len(t.Parts) {
				return errParts
			}
			parts[k] = &t.Parts[at]
			if k > 0 && parts[k-1].Field >= parts[k].Field {
				return errParts
			}
		}
		r.Resources[i].Parts = parts
	}
	return nil
}

// appendPart appends what tells a part from all others: with lengths, so that none is ever taken for another.
func appendPart(key []byte, p *observed.Part) []byte {
	key = append(binary.AppendUvarint(key, uint64(len(p.Field))), p.Field...)
	for _, v := range p.Values {
		key = append(binary.AppendUvarint(key, uint64(len(v))), v...)
	}
	return key
}
