package zeekbus

import (
	"net/netip"
	"strconv"
	"time"
)

// Value is one value of Zeek's data model, as its events carry it: one of the types below, and nothing else.
// A record is a Vector of all its fields in the order of their declaration, with None for what is unset.
type Value interface {
	Kind() Kind
	// sealed keeps other packages from adding kinds that no serializer knows.
	sealed()
}

// Kind tells the types of Value apart. The numbers are the tags of broker-bin-v1.
type Kind uint8

// The kinds.
const (
	KindNone Kind = iota
	KindBoolean
	KindCount
	KindInteger
	KindReal
	KindString
	KindAddress
	KindSubnet
	KindPort
	KindTimestamp
	KindTimespan
	KindEnum
	KindSet
	KindTable
	KindVector
)

// kindNames are the names that broker-json-v1 has for the kinds.
var kindNames = [...]string{"none", "boolean", "count", "integer", "real", "string", "address", "subnet", "port",
	"timestamp", "timespan", "enum-value", "set", "table", "vector"}

// String is the name of the kind in broker-json-v1.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

type (
	// None is no value: a field that is unset.
	None struct{}
	// Boolean is Zeek's bool.
	Boolean bool
	// Count is Zeek's count.
	Count uint64
	// Integer is Zeek's int.
	Integer int64
	// Real is Zeek's double.
	Real float64
	// String is Zeek's string: any bytes, not only UTF-8.
	String string
	// Address is Zeek's addr. IPv4 mapped into IPv6 is IPv4; a zone cannot be sent.
	Address struct{ netip.Addr }
	// Subnet is Zeek's subnet. The bits behind the prefix are kept as they are.
	Subnet struct{ netip.Prefix }
	// Port is Zeek's port.
	Port struct {
		Number   uint16
		Protocol Protocol
	}
	// Timestamp is Zeek's time: nanoseconds since 1970, UTC.
	Timestamp int64
	// Timespan is Zeek's interval.
	Timespan time.Duration
	// Enum is the name of an enum's value with its module, such as Cluster::WORKER.
	Enum string
	// Set holds each element once. The order is that on the wire: Zeek writes sets sorted and reads any order.
	Set []Value
	// Table holds each key once, in the order of the wire.
	Table []Entry
	// Vector is Zeek's vector, list, record, pattern or function.
	Vector []Value
)

// Entry is one row of a Table.
type Entry struct {
	Key, Value Value
}

// Protocol is that of a Port.
type Protocol uint8

// The protocols.
const (
	UnknownProtocol Protocol = iota
	TCP
	UDP
	ICMP
)

var protocolNames = [...]string{"?", "tcp", "udp", "icmp"}

// String is "tcp", "udp", "icmp", and "?" for what is unknown.
func (p Protocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return protocolNames[UnknownProtocol]
}

// String is "80/tcp".
func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + p.Protocol.String() }

// TimestampOf is t in nanoseconds. What is before 1678 or after 2261 has none.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixNano()) }

// Time is the moment, in UTC.
func (t Timestamp) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// Kind is KindNone.
func (None) Kind() Kind { return KindNone }

// Kind is KindBoolean.
func (Boolean) Kind() Kind { return KindBoolean }

// Kind is KindCount.
func (Count) Kind() Kind { return KindCount }

// Kind is KindInteger.
func (Integer) Kind() Kind { return KindInteger }

// Kind is KindReal.
func (Real) Kind() Kind { return KindReal }

// Kind is KindString.
func (String) Kind() Kind { return KindString }

// Kind is KindAddress.
func (Address) Kind() Kind { return KindAddress }

// Kind is KindSubnet.
func (Subnet) Kind() Kind { return KindSubnet }

// Kind is KindPort.
func (Port) Kind() Kind { return KindPort }

// Kind is KindTimestamp.
func (Timestamp) Kind() Kind { return KindTimestamp }

// Kind is KindTimespan.
func (Timespan) Kind() Kind { return KindTimespan }

// Kind is KindEnum.
func (Enum) Kind() Kind { return KindEnum }

// Kind is KindSet.
func (Set) Kind() Kind { return KindSet }

// Kind is KindTable.
func (Table) Kind() Kind { return KindTable }

// Kind is KindVector.
func (Vector) Kind() Kind { return KindVector }

func (None) sealed()      {}
func (Boolean) sealed()   {}
func (Count) sealed()     {}
func (Integer) sealed()   {}
func (Real) sealed()      {}
func (String) sealed()    {}
func (Address) sealed()   {}
func (Subnet) sealed()    {}
func (Port) sealed()      {}
func (Timestamp) sealed() {}
func (Timespan) sealed()  {}
func (Enum) sealed()      {}
func (Set) sealed()       {}
func (Table) sealed()     {}
func (Vector) sealed()    {}
