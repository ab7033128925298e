// Package agent is the supervisor of one instance: it is told what to run, keeps it running without
// anybody's help, and reports.
//
//	a, err := agent.New(agent.Config{StateDir: dir, Instance: "agent-a", Launcher: launcher})
//	go a.Run(ctx)                     // finds the processes of earlier runs again, supervises
//	<-a.Ready()
//	err = a.Do(ctx, order)            // on disk, and begun
//	<-a.Changes(); report := a.Report()
//
// # What is on disk
//
// In StateDir/clusters/CLUSTER:
//
//	nodes/NODE/told.json     what it shall run; removed when it shall run no more
//	nodes/NODE/running.json  what was started last: spec, command, incarnation, identity of the process
//	nodes/NODE/members.tsv   the nodes of its cluster, which the process follows where its membership is live
//	nodes/NODE/options.conf  options that were changed since its start; it writes what it has to work/.options.json
//	nodes/NODE/node.lock     locked by the process itself, as long as it lives
//	nodes/NODE/{stdout,stderr}, work/
//	nodes/BROKER/work/       what a broker keeps: launch.BrokerFiles
//	gen/HASH/                generated files of a start, never changed
//	files/HASH/              the content of NAME/, never changed
//	queue/                   rotated logs
//
// In StateDir itself, events.json has the number that the next events begin at, see eventLog.
//
// # One resource, one machine
//
// Each resource has one goroutine (unit) that owns one state machine (machine), whose single transition
// function knows neither processes nor clocks. Orders, ends of processes, deadlines and ticks are fed to
// it; it answers with what to do.
//
//	           run                        ready
//	stopped ---------> starting ---------------------> running
//	 ^   ^              |  |  ^  ^                        |
//	 |   |         ended|  |  |  |                        | ended
//	 |   |              |  |  |  '------- no delay -------+
//	 |   |              |  |  | due                       |
//	 |   |              +--|--|--------> backoff <--------+
//	 |   |              |  |  | due, cause gone           |
//	 |   |              +--|--|--------> failed <---------+
//	 |   |                 |  |            permanent, or too many
//	 |   |        halt,    |  | to be started afresh
//	 |   | ended  again    v  |
//	 |   '--------------- stopping <------------------- running: halt, again, replace
//	 | ended                 | due
//	 '------------------- killing <-------------------- starting: due; running: hung
//
// # Brokers
//
// A cluster's ZeroMQ broker is a resource like any other: told, started in two steps, locked, found again,
// healed. Its program is zeekrec itself. Besides, as long as its process runs, a goroutine (brokerLink) asks it
// through BrokerControl which nodes have joined, and tells it what it is to be and which nodes' processes have ended.
// It is healthy when it answers and has taken what it was told; that is told for good (decisions 2), and
// tried until it is taken.
//
// # How processes fare
//
// As long as a process runs, a goroutine (examiner) looks at it now and then. What it finds goes into the unit's condition, which
// makes words of it: the report's Degraded and Notes. Nothing else follows from them.
//
// # Invariants
//
//   - Never two processes of one resource: the process holds a lock, the agent looks for its mark, and one
//     goroutine starts them.
//   - What was told is on disk before it is acted on, and what is started before it is executed. On a full
//     disk nothing new is begun; healing goes on, see unit.start.
//   - told changes by orders alone; a crash is healed from told. An order whose precondition does not hold
//     is refused, one that was carried out before is a success, see judge.
//   - Nothing is stopped but by an order, except a process that cannot do its work (it does not become
//     ready, its interface is another one now, it has not answered for long), which is replaced. In particular not when records cannot
//     be read: a process that nothing speaks for is orphaned, shown and left alone.
//   - The agent's end, however it comes, ends no process.
//   - Keys go into the environment of the processes that use them, and over the socket of a broker: never
//     into a record, a report, a log or a bundle. A resource without its keys is not started.
package agent
