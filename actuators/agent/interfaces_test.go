package agent

import "testing"

func TestDevice(t *testing.T) {
	for arg, want := range map[string]string{
		"eth0": "eth0", "af_packet::eth0": "eth0", "pcap::eth0": "eth0", "": "", "netmap::eth0": "", "dpdk::0": "", "any": "any",
	} {
		if got := device(arg); got != want {
			t.Errorf("%q: %q, want %q", arg, got, want)
		}
	}
}

func TestWatch(t *testing.T) {
	at := func(index int, up bool) links { return links{"eth0": {Index: index, Up: up}} }
	type look struct {
		now     links
		kind    string
		replace bool
		trouble string
	}
	for name, tt := range map[string]struct {
		w     watch
		looks []look
	}{
		"gone and back": {watch{dev: "eth0", index: 2}, []look{
			{at(2, true), "", false, ""},
			{links{}, "interface-gone", false, "interface eth0 is gone"},
			{links{}, "", false, "interface eth0 is gone"},
			{nil, "", false, "interface eth0 is gone"}, // could not be listed: no news
			{at(3, false), "", false, "interface eth0 is gone"},
			{at(3, true), "interface-back", true, ""},
			{at(3, true), "", false, ""},
		}},
		"made again between two looks": {watch{dev: "eth0", index: 2}, []look{{at(3, true), "interface-back", true, ""}}},
		"gone and back with the same index": {watch{dev: "eth0", index: 2}, []look{
			{links{}, "interface-gone", false, "interface eth0 is gone"},
			{at(2, true), "interface-back", true, ""},
		}},
		"down and up": {watch{dev: "eth0", index: 2}, []look{
			{at(2, false), "interface-down", false, "interface eth0 is down"},
			{at(2, false), "", false, "interface eth0 is down"},
			{at(2, true), "interface-up", false, ""},
		}},
		"index not known": {watch{dev: "eth0"}, []look{
			{at(5, true), "", false, ""},
			{at(6, true), "interface-back", true, ""},
		}},
		"nothing to watch": {watch{}, []look{{links{}, "", false, ""}}},
		"all interfaces":   {watch{dev: "any"}, []look{{links{}, "", false, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, l := range tt.looks {
				v := tt.w.look(l.now)
				if v.kind != l.kind || v.replace != l.replace || tt.w.trouble() != l.trouble {
					t.Fatalf("look %d: %+v, trouble %q; want %+v", i+1, v, tt.w.trouble(), l)
				}
			}
		})
	}
}
