package zeekbus

import "fmt"

// Format names how a payload is written: the third frame of a message.
type Format string

// The formats of events, Cluster::event_serializer, and the only one of log writes. A node refuses events in
// another format than its own.
const (
	FormatBin  Format = "broker-bin-v1" // Zeek's default
	FormatJSON Format = "broker-json-v1"
	FormatLog  Format = "zeek-bin-serializer"
)

// Event is a remote event of Zeek.
type Event struct {
	Name string // with its module, such as Cluster::hello
	Args []Value
	// Meta is nil when the event carries none, as is Zeek's default.
	Meta []Meta
}

// Meta is one piece of metadata of an event.
type Meta struct {
	ID    uint64
	Value Value
}

// NetworkTimestamp is the ID of the only metadata that Zeek itself knows; its value is a Timestamp.
const NetworkTimestamp = 1

// The head of every event: the version of the format, and the type of message that is an event.
const (
	eventVersion Count = 1
	eventType    Count = 1
)

// AppendEvent appends e in one of the formats of events to dst. After an error the result is dst.
func AppendEvent(dst []byte, format Format, e Event) ([]byte, error) {
	content := Vector{String(e.Name), Vector(e.Args)}
	if e.Meta != nil {
		meta := make(Vector, len(e.Meta))
		for i, m := range e.Meta {
			meta[i] = Vector{Count(m.ID), m.Value}
		}
		content = append(content, meta)
	}
	v := Vector{eventVersion, eventType, content}
	if _, reason := eventOf(v); reason != "" {
		return dst, fmt.Errorf("cannot write an event: it would be %s", reason)
	}
	switch format {
	case FormatBin:
		return AppendBin(dst, v)
	case FormatJSON:
		return AppendJSON(dst, v)
	}
	return dst, fmt.Errorf("cannot write an event in the format %q", clip(string(format)))
}

// ParseEvent reads an event in one of the formats of events. Errors are *FormatError.
func ParseEvent(format Format, payload []byte) (Event, error) {
	var v Value
	var err error
	switch format {
	case FormatBin:
		v, err = ParseBin(payload)
	case FormatJSON:
		v, err = ParseJSON(payload)
	default:
		return Event{}, &FormatError{format, 0, "not a format of events"}
	}
	if err != nil {
		return Event{}, err
	}
	e, reason := eventOf(v)
	if reason != "" {
		return Event{}, &FormatError{format, 0, reason}
	}
	return e, nil
}

// eventOf takes an event apart, or says why it is none.
func eventOf(v Value) (e Event, reason string) {
	outer, ok := v.(Vector)
	if !ok || len(outer) != 3 {
		return e, "not a message of three parts"
	}
	if outer[0] != Value(eventVersion) {
		return e, "a message of another version than 1"
	}
	if outer[1] != Value(eventType) {
		return e, "a message that is no event"
	}
	content, ok := outer[2].(Vector)
	if !ok || len(content) != 2 && len(content) != 3 {
		return e, "an event without two or three parts"
	}
	name, ok := content[0].(String)
	if !ok || name == "" {
		return e, "an event without a name"
	}
	args, ok := content[1].(Vector)
	if !ok {
		return e, "an event without arguments"
	}
	e = Event{Name: string(name), Args: args}
	if len(content) == 2 {
		return e, ""
	}
	meta, ok := content[2].(Vector)
	if !ok {
		return Event{}, "metadata that are no vector"
	}
	e.Meta = make([]Meta, 0, len(meta))
	for _, m := range meta {
		pair, ok := m.(Vector)
		if !ok || len(pair) != 2 {
			return Event{}, "metadata that are no pairs"
		}
		id, ok := pair[0].(Count)
		if !ok {
			return Event{}, "metadata without an id"
		}
		// Zeek takes it for granted.
		if _, ok := pair[1].(Timestamp); id == NetworkTimestamp && !ok {
			return Event{}, "a network timestamp that is none"
		}
		e.Meta = append(e.Meta, Meta{uint64(id), pair[1]})
	}
	return e, ""
}
