package zeekbus

import "fmt"

// Message is a message of Zeek's: events go by publish and subscribe, log writes are pushed to the loggers.
// The slices are those of the frames, not copies.
type Message struct {
	Topic   []byte // TopicLogWrite for log writes
	Sender  []byte // the sender's node id; a node drops what bears its own
	Format  []byte
	Payload []byte
}

// SplitMessage takes the frames of a message; there have to be four.
func SplitMessage(frames [][]byte) (Message, error) {
	if len(frames) != 4 {
		return Message{}, fmt.Errorf("cannot take the message apart: it has %d frames, not 4", len(frames))
	}
	return Message{Topic: frames[0], Sender: frames[1], Format: frames[2], Payload: frames[3]}, nil
}

// AppendFrames appends the four frames of m to frames.
func (m Message) AppendFrames(frames [][]byte) [][]byte {
	return append(frames, m.Topic, m.Sender, m.Format, m.Payload)
}

// NewMessage is the message that publishes e in a format of events.
func NewMessage(topic, sender string, format Format, e Event) (Message, error) {
	payload, err := AppendEvent(nil, format, e)
	if err != nil {
		return Message{}, fmt.Errorf("cannot publish %q: %w", clip(e.Name), err)
	}
	return Message{Topic: []byte(topic), Sender: []byte(sender), Format: []byte(format), Payload: payload}, nil
}

// Event reads the event of m, in whichever format it is. Errors are *FormatError.
func (m Message) Event() (Event, error) {
	switch string(m.Format) {
	case string(FormatBin):
		return ParseEvent(FormatBin, m.Payload)
	case string(FormatJSON):
		return ParseEvent(FormatJSON, m.Payload)
	}
	return ParseEvent(Format(m.Format), nil)
}
