// Command zeek is a stand-in for Zeek on machines without one: a small program that
// behaves like a zeek process seen from outside. It analyses no traffic. Tests and the demonstration use it; it is never chosen
// silently, and says what it is:
//
//	$ zeek --version
//	zeek version 8.2.2 (zeekrec stand-in, not Zeek)
//
// What it does as Zeek 8.2.2 does, texts and exit statuses included:
//
//   - takes Zeek's arguments, finds scripts along ZEEKPATH, follows @load and @if,
//     refuses what is missing or has a syntax error (package script), obeys -a;
//   - writes the status file of -U, truncated in place: INITIALIZING [main],
//     RUNNING [run_loop], TERMINATING [sig_handler], TERMINATING [terminate_zeek],
//     TERMINATED [atexit] or [fatal_error];
//   - with CLUSTER_NODE reads cluster-layout.zeek, wants a backend, and listens
//     where that node would: metrics, a logger's port, a manager's ZeroMQ proxy. A
//     port in use is fatal;
//   - with the ZeroMQ backend joins the bus (package bus): Zeek's subscriptions, both
//     hellos, who is up and who is down in cluster.log, what goes wrong on stderr and
//     in reporter.log, CURVE keys from the environment or scripts, and the end that a
//     failed handshake is. A manager with run_proxy_thread is the broker: zeekrec's
//     own, told to be like libzmq's proxy. Log lines of the others go to the loggers
//     each second. With frameworks/control/controllee, and with zeekrec-answer, it
//     answers questions: what scripts have redefined, Cluster::node,
//     Cluster::active_node_ids; with zeekrec-tune it takes the options of a file, of the few that it knows, and
//     with zeekrec-probe it says which these are;
//   - with -i wants the interface to exist and to be up, and says "listening on";
//     it opens no socket on it, so that it needs no privilege;
//   - as a logger writes and rotates logs (package logs), rotates what a killed one
//     left, and leaves stats.log and telemetry.log behind at the end;
//   - TERM and INT end it with status 0 once it runs, after it has sent what waits, in
//     at most linger_ms, and kill it before; HUP makes
//     the status file say TERMINATING, and it runs on.
//
// Where it differs: Zeek's own scripts are names below [script.Prefix], not files
// (its default ZEEKPATH, which --help shows, names that folder, and a ZEEKPATH
// without it ends as with Zeek: "can't find base/init-bare.zeek"); scripts are
// not run, so that no other events are handled than those above; with the Broker
// backend it takes part in nothing; the log lines are invented, with the service
// "stand-in" and uids that count up, so that a test can tell whether one is missing,
// by loggers, too; a start takes 50 ms.
//
// Its environment can make it misbehave; --help lists the ZEEK_STANDIN variables,
// faults.go reads them. In a cluster.cfg they go into a node's env.
//
// The go tool leaves folders called testdata out of patterns such as ./...; this
// program, its packages and their tests must be named:
//
//	go build -o bin/zeek ./testdata/zeek
//	go test ./testdata/zeek/...
package main
