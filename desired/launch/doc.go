// Package launch turns a resource, together with what is known of the place where it is to run, into a
// command line, an environment and files: everything that starting a Zeek process, or zeekrec's own broker, takes, as text.
//
// It is pure. What it renders is no part of a resource's identity (decisions 1): a newer zeekrec may
// render the same resource differently, and nothing restarts; the agent shows such nodes as outdated,
// by comparing Launch.Hash with that of the last start.
//
//	l, err := launch.Render(&resource, launch.Place{
//		ClusterDir: "/var/lib/zeekrec/clusters/dmz",
//		NodeDir:    "/var/lib/zeekrec/clusters/dmz/nodes/worker-1",
//		Zeek:       facts,
//	})
//	// write l.Files below l.GenDir, then exec l.Argv in l.Dir with l.Env.
//
// The command line of a worker of Zeek 8.2 with the ZeroMQ backend (facts/zeromq.md, Appendix A):
//
//	zeek -i eth0 -U NODEDIR/work/.status frameworks/cluster/backend/zeromq zeekrec-node local zeekrec-options
//
// zeekrec-node has what zeekrec needs and local.zeek may refine; zeekrec-options has what the user wrote
// in [zeekrec.options], and comes last, since it may name what only those scripts define.
//
// zeekrec-members, which zeekrec-node loads where membership is live, lets the node follow the table at MembersFile while it
// runs: ARCHITECTURE.md, "Members that come and go". zeekrec-telemetry, which it loads where a node that captures serves metrics, gives
// these the packet counters of misc/stats.
//
// zeekrec-config lets the manager of a ZeroMQ cluster hand on what the Config framework reads. zeekrec-loads is for Launch.Loads.
//
// zeekrec-tune lets the node follow TuneFile, options that are changed while it runs; zeekrec-probe is for Probe, a run that
// asks Zeek for its names: ARCHITECTURE.md, "Options that are changed while nodes run".
//
// And that of a broker, whose settings and keys can be changed while it runs, and so are not on it:
//
//	zeekrec broker --xpub tcp://127.0.0.1:5555 --xsub tcp://127.0.0.1:5556 --state NODEDIR/work/subscriptions.json
//	    --admin NODEDIR/work/admin.sock --settings NODEDIR/work/settings.json -U NODEDIR/work/.status --metrics 127.0.0.1:9005
//
// No key is ever part of a Launch: CurveEnv is what whoever starts a node adds to its environment.
package launch
