package bus

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/observed"
)

// twoWorkers report a part that they have in common, and one that each has for itself.
func twoWorkers() *observed.Report {
	parts := func(iface string) observed.Parts {
		return observed.PartsOf(map[string][]string{"broker": {"tcp://h:1", "tcp://h:2"}, "interface": {iface}})
	}
	return &observed.Report{Instance: "a", Resources: []observed.Resource{
		{Cluster: "dmz", Name: "broker"}, {Cluster: "dmz", Name: "worker-1", Parts: parts("eth0")}, {Cluster: "dmz", Name: "worker-2", Parts: parts("eth1")},
	}}
}

// A report arrives as it was, and what was sent of it stays as it is.
func TestNoticesKeepParts(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		field, value := rapid.SampledFrom([]string{"broker", "cpus", "interface", "loggers"}), rapid.SampledFrom([]string{"", "a", "b", "a\x00b"})
		r := &observed.Report{Instance: "a"}
		for range rapid.IntRange(0, 4).Draw(t, "resources") {
			o := observed.Resource{Cluster: "dmz", Name: "w"}
			for range rapid.IntRange(0, 3).Draw(t, "parts") {
				o.Parts = o.Parts.With(field.Draw(t, "field"), rapid.SliceOfN(value, 1, 3).Draw(t, "values")...)
			}
			r.Resources = append(r.Resources, o)
		}
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.pack(&notice{Boot: "1", Number: 7, Calls: []string{"x"}, Report: r})
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.unpack(b, &scratch{})
		if err != nil {
			t.Fatal(err)
		}
		after, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := json.Marshal(n.Report)
		if err != nil {
			t.Fatal(err)
		}
		if string(after) != string(before) || string(arrived) != string(before) {
			t.Fatalf("%s was sent, is %s, and arrived as %s", before, after, arrived)
		}
		if n.Number != 7 || len(n.Calls) != 1 || n.Table != nil {
			t.Fatalf("the notice arrived as %+v", n)
		}
	})
}

func TestPartsAreSentOnce(t *testing.T) {
	bare, table := gather(twoWorkers())
	if len(table.Parts) != 3 || !reflect.DeepEqual(table.Of, [][]int{{}, {0, 1}, {0, 2}}) {
		t.Errorf("the parts are %v, of the resources %v", table.Parts, table.Of)
	}
	for i := range bare.Resources {
		if len(bare.Resources[i].Parts) > 0 {
			t.Errorf("%s has %v besides", bare.Resources[i].Name, bare.Resources[i].Parts)
		}
	}
}

// What refers to nothing is no report, whatever an agent means by it.
func TestBadTables(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, table string
		want        error
	}{
		{"good", `{"parts":[{"field":"a","values":["1"]},{"field":"b"}],"of":[[0,1]]}`, nil},
		{"with the resource, as before there was a table", `null`, nil},
		{"beyond the end", `{"parts":[{"field":"a"}],"of":[[1]]}`, errParts},
		{"negative", `{"parts":[{"field":"a"}],"of":[[-1]]}`, errParts},
		{"none for a resource", `{"parts":[{"field":"a"}],"of":[]}`, errParts},
		{"for more resources", `{"of":[[],[]]}`, errParts},
		{"in another order", `{"parts":[{"field":"b"},{"field":"a"}],"of":[[0,1]]}`, errParts},
		{"twice", `{"parts":[{"field":"a"}],"of":[[0,0]]}`, errParts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := `{"boot":"1","number":1,"report":{"instance":"a","resources":[{"cluster":"c","name":"w","parts":{"a":["1"]}}]},"table":` + tt.table + `}`
			n, err := c.unpack(c.enc.EncodeAll([]byte(text), nil), &scratch{})
			if !errors.Is(err, tt.want) {
				t.Fatalf("it ends with %v", err)
			}
			if err == nil && (n.Report.Resources[0].Parts.Get("a")[0] != "1" || n.Report.Resources[0].Parts.Get("b") != nil) {
				t.Errorf("it has %v", n.Report.Resources[0].Parts)
			}
		})
	}
}
