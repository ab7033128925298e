package zeekbus_test

import (
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// A node is asked for the value of an identifier, and answers.
func Example() {
	var asks zeekbus.Asks[string]
	r := zeekbus.Request{Node: "worker-1", Kind: zeekbus.AskIDValue, ID: "Cluster::node"}
	if err := asks.Add(r, "who asked"); err != nil {
		fmt.Println(err)
		return
	}
	m, err := zeekbus.NewMessage(r.Topic(), "zeekrec-broker", zeekbus.FormatBin, r.Event())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %d bytes of %s\n", m.Topic, len(m.Payload), m.Format)

	// What the node publishes then.
	m, err = zeekbus.NewMessage(r.AnswerTopic(), "zeromq_worker-1_sensor1_4711_N3xOm7", zeekbus.FormatBin,
		zeekbus.Event{Name: "Control::id_value_response", Args: []zeekbus.Value{zeekbus.String("Cluster::node"), zeekbus.String("worker-1")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := m.Event()
	if err != nil {
		fmt.Println(err)
		return
	}
	who, answer, ok := asks.Take(m.Topic, e)
	fmt.Println(who, answer, ok)
	// Output:
	// zeek.cluster.node.worker-1.: 66 bytes of broker-bin-v1
	// who asked worker-1 true
}

// A subscription tells which node there is.
func ExampleClassify() {
	class, rest := zeekbus.Classify([]byte("zeek.cluster.nodeid.zeromq_worker_1_sensor1_4711_N3xOm7."))
	n, err := zeekbus.ParseNodeID(string(rest), "worker_1")
	fmt.Println(class, n.Name, n.Host, n.PID, err)
	// Output: zeek.cluster.nodeid worker_1 sensor1 4711 <nil>
}
