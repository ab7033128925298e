package mgmt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Topic is where clients and the controller of the management framework meet.
const Topic = "zeek/management/controller"

// Path of the WebSocket interface.
const Path = "/v1/messages/json"

// Event is one event of Zeek's scripts, with its arguments.
type Event struct {
	Name string
	Args []Value
}

// The codes of errors that Zeek's WebSocket server has.
const (
	codeURI         = "invalid_uri"
	codeDeserialize = "deserialization_failed"
)

type (
	ackMessage struct {
		Type     string `json:"type"`
		Endpoint string `json:"endpoint"`
		Version  string `json:"version"`
	}
	errorMessage struct {
		Type    string `json:"type"`
		Code    string `json:"code"`
		Context string `json:"context"`
	}
	dataMessage struct {
		Type     string          `json:"type"`
		Topic    string          `json:"topic"`
		DataType string          `json:"@data-type"`
		Data     json.RawMessage `json:"data"`
	}
)

func ack(endpoint, version string) []byte {
	b, _ := json.Marshal(ackMessage{"ack", endpoint, version}) // strings always can be
	return b
}

func failure(code, context string) []byte {
	b, _ := json.Marshal(errorMessage{"error", code, context})
	return b
}

// parseHandshake reads the first message of a client: the topics that it subscribes to.
func parseHandshake(b []byte) ([]string, error) {
	var topics []string
	if err := json.Unmarshal(b, &topics); err != nil || topics == nil {
		return nil, errors.New("the first message has to be an array of topics")
	}
	return topics, nil
}

// ParseEvent reads a data message that holds an event.
func ParseEvent(b []byte) (Event, error) {
	var m dataMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return Event{}, fmt.Errorf("not a message: %w", err)
	}
	if m.Type != "data-message" {
		return Event{}, fmt.Errorf("not a data message: %.60q", m.Type)
	}
	d := &decoder{left: maxValues}
	v, err := d.typed(m.DataType, m.Data, 0)
	if err != nil {
		return Event{}, err
	}
	// [format 1, kind 1 (an event), [name, [arguments…], metadata…]]
	outer, ok := v.(Vector)
	if !ok || len(outer) != 3 || outer[0] != Count(1) || outer[1] != Count(1) {
		return Event{}, errors.New("not an event")
	}
	inner, ok := outer[2].(Vector)
	if !ok || len(inner) < 2 {
		return Event{}, errors.New("not an event: no name, or no arguments")
	}
	name, ok := inner[0].(String)
	args, ok2 := inner[1].(Vector)
	if !ok || !ok2 {
		return Event{}, errors.New("not an event: no name, or no arguments")
	}
	return Event{Name: string(name), Args: args}, nil
}

// Message writes an event as a data message on Topic.
func (e Event) Message() ([]byte, error) {
	v := Vector{Count(1), Count(1), Vector{String(e.Name), Vector(e.Args)}}
	_, data := v.form()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Type     string `json:"type"`
		Topic    string `json:"topic"`
		DataType string `json:"@data-type"`
		Data     any    `json:"data"`
	}{"data-message", Topic, "vector", data})
	return bytes.TrimSpace(buf.Bytes()), err
}
