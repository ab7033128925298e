package local

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/archive"
	"github.com/zeekrec/zeekrec/actuators/archive/admin"
	"github.com/zeekrec/zeekrec/observed"
)

// archiverControl is the admin socket of an archiver in the agent's words.
type archiverControl struct{ client *admin.Client }

// reachArchiver is agent.Config.Archivers.
func reachArchiver(socket string) agent.ArchiverControl { return archiverControl{admin.Dial(socket)} }

// Status asks the archiver.
func (c archiverControl) Status(ctx context.Context) (agent.ArchiverStatus, error) {
	s, err := c.client.Status(ctx)
	if err != nil {
		return agent.ArchiverStatus{}, err
	}
	out := agent.ArchiverStatus{Version: s.Version, PID: s.PID, Degraded: s.Degraded, Notes: s.Notes, Archive: observed.Archive{
		BacklogFiles: s.Backlog.Files, BacklogBytes: s.Backlog.Bytes, Oldest: s.Backlog.Oldest, FilesPerHour: s.FilesPerHour,
		BytesPerHour: s.BytesPerHour, FreeBytes: s.Space.Free, TotalBytes: s.Space.Total, Refused: len(s.Refused),
	}}
	if s.LastError != nil {
		out.Archive.LastError, out.Archive.LastErrorAt = s.LastError.Text, s.LastError.At
	}
	return out, nil
}

// Apply changes settings.
func (c archiverControl) Apply(ctx context.Context, settings []byte) error {
	var s archive.Settings
	if err := json.Unmarshal(settings, &s); err != nil {
		return fmt.Errorf("cannot understand the archiver's settings: %w", err)
	}
	return c.client.Apply(ctx, s)
}
