// Package zeekbus is what zeekrec's broker, and what stands in for Zeek, have to know of the conversation of
// Zeek's nodes on a ZeroMQ bus: values and events in the two serializers, topics, node ids, the hellos, the
// control framework's questions and answers, and the log writes that go to the loggers.
//
//	four frames --SplitMessage--> Message --Event--> Event --ParseHello, Asks.Take--> what it means
//	                                      --LogWrite--> LogWrite
//
// The facts come from the sources of Zeek 8.2 and from a real Zeek: testdata/zeek-*.txt is what one said,
// and TestZeek lets it say that again where there is one.
//
// Invariants:
//
//   - Pure: values in, values out. No clock, no files, no network.
//   - Parsing never panics, never trusts a length, and takes memory in proportion to the bytes that are
//     there: MaxPayload, MaxDepth and MaxValues are the bounds. It takes what Zeek writes and refuses what
//     Zeek would refuse.
//   - What was parsed from broker-bin-v1, or from a log write, is written again with the same bytes. What
//     Zeek writes in broker-json-v1, too, but for what Zeek itself cannot read.
//   - What is written can be read by Zeek, whose own readers are not made for anything else. It can be
//     parsed again, too.
//   - Values hold no part of the payload that they were parsed from, so that it can be used again. Messages
//     and what Classify returns do.
//
// Use, to ask a node for a value and to understand the answer:
//
//	var asks zeekbus.Asks[chan string]
//	r := zeekbus.Request{Node: "worker-1", Kind: zeekbus.AskIDValue, ID: "Cluster::node"}
//	if err := asks.Add(r, answered); err != nil { … }
//	m, err := zeekbus.NewMessage(r.Topic(), id, zeekbus.FormatBin, r.Event())
//	… // send m.AppendFrames(nil); for each message that comes for zeekbus.PrefixControl:
//	m, err := zeekbus.SplitMessage(frames)
//	e, err := m.Event()
//	if answered, answer, ok := asks.Take(m.Topic, e); ok {
//		answered <- answer
//	}
package zeekbus
