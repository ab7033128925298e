package agent

import (
	"context"
	"os"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// openBroker begins to talk to the unit's process where that is a broker, and tells it what it is to be.
func (u *unit) openBroker(ctx context.Context) {
	if u.proc == nil || u.last == nil || u.last.Resource.Type != desired.TypeBroker || u.agent.cfg.Brokers == nil {
		return
	}
	l := newBrokerLink(u.agent, clusterOf(u.key), u.proc.Identity().PID, u.agent.cfg.Brokers(u.dir.broker().Admin), u.log, func() {
		select {
		case u.news <- struct{}{}:
		default: // the unit is about to look
		}
	})
	ctx, u.leave = context.WithCancel(ctx)
	u.broker, u.m.vital = l, true
	u.tellBroker()
	u.agent.brokers.add(l)
	u.talks.Go(func() { l.run(ctx) })
	u.talks.Go(func() { l.ping(ctx) })
}

// closeBroker ends the talk; the process goes on, or has ended.
func (u *unit) closeBroker() {
	if u.broker == nil {
		return
	}
	u.leave()
	u.agent.brokers.remove(u.broker)
	u.broker, u.leave = nil, nil
}

// tellBroker hands on what the broker was told last. What an orphan is to be, nobody knows.
func (u *unit) tellBroker() {
	if u.broker == nil || u.told == nil || u.told.Resource.Broker == nil {
		return
	}
	if err := u.putSettings(); err != nil {
		u.log.Warn("cannot write the broker's settings; it is told them all the same", "error", err)
	}
	u.broker.tell(u.told.Resource.Broker)
}

// putSettings writes what a broker reads at its start.
func (u *unit) putSettings() error {
	return renameio.WriteFile(u.dir.broker().Settings, launch.BrokerSettings(u.told.Resource.Broker), 0o644)
}

// makeBrokerRoom puts what a broker expects to find in its folder, and removes the last one's socket. Healing goes
// on with the settings that are there where the disk takes no others: it is told them as soon as it runs.
func (u *unit) makeBrokerRoom(healing bool) error {
	if err := removeFile(u.dir.broker().Admin); err != nil {
		return err
	}
	err := u.putSettings()
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(u.dir.broker().Settings); missing != nil || !healing {
		return err
	}
	u.log.Error("cannot renew the broker's settings; healing goes on", "error", err)
	return nil
}

// tellEnding says that the process of the unit's node has ended.
func (u *unit) tellEnding(pid int) {
	if u.last != nil && u.last.Resource.Type == desired.TypeNode {
		u.agent.brokers.died(clusterOf(u.key), u.dir.resource(), pid, u.now())
	}
}
