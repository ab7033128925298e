# What nodes do in the tests of the broker: they write down, in bus.txt in their folder, who comes and goes, and send
# numbered events: workers to the proxies, proxies to the workers. Workers also write numbered lines to a log.
#
# Each line of bus.txt is: time, pid, what, and more.

module Bus;

export {
	redef enum Log::ID += { LOG };

	type Line: record {
		who: string &log;
		pid: count &log;
		n: count &log;
	};

	## Events that each worker sends, per second; a proxy sends a quarter of them.
	const rate = 200.0 &redef;

	## Lines that each process of a worker writes to the log.
	const lines = 1000 &redef;

	global tick: event(who: string, pid: count, n: count);
	global beat: event();
	global drops: event(before: string);
}

global out: file;
global topic = "";
global speed = 0.0;
global began: time;
global sent = 0;

function note(what: string)
	{
	print out, fmt("%.6f %d %s", current_time(), getpid(), what);
	}

# What this process has dropped is written down as it changes: Cluster::publish() says T for what its socket drops, too.
event Bus::drops(before: string)
	{
	local now = "";
	for ( _, m in Telemetry::collect_metrics("zeek", "cluster_zeromq_*drops*") )
		now += fmt(" %s=%.0f", m$opts$name, m$value);
	if ( now != before )
		note("drops" + now);
	schedule 0.5sec { Bus::drops(now) };
	}

event zeek_init() &priority=200
	{
	out = open_for_append("bus.txt");
	set_buf(out, F);
	Log::create_stream(LOG, [$columns=Line, $path="bus"]);
	note("init");
	event Bus::drops("");
	}

event Cluster::node_up(name: string, id: string)
	{
	note(fmt("up %s %s", name, id));

	local mine = Cluster::local_node_type();
	local other = Cluster::nodes[name]$node_type;
	if ( topic != "" )
		return;

	if ( mine == Cluster::WORKER && other == Cluster::PROXY )
		{
		topic = Cluster::proxy_topic;
		speed = rate;
		}
	else if ( mine == Cluster::PROXY && other == Cluster::WORKER )
		{
		topic = Cluster::worker_topic;
		speed = rate / 4;
		}
	else
		return;

	began = current_time();
	event Bus::beat();
	}

event Cluster::node_down(name: string, id: string)
	{
	note(fmt("down %s %s", name, id));
	}

event Bus::beat()
	{
	local due = double_to_count(interval_to_double(current_time() - began) * speed);
	while ( sent < due )
		{
		++sent;
		Cluster::publish(topic, Bus::tick, Cluster::node, getpid(), sent);
		if ( Cluster::local_node_type() == Cluster::WORKER && sent <= lines )
			Log::write(LOG, [$who=Cluster::node, $pid=getpid(), $n=sent]);
		}
	schedule 5msec { Bus::beat() };
	}

event Bus::tick(who: string, pid: count, n: count)
	{
	note(fmt("tick %s %d %d", who, pid, n));
	}

event zeek_done()
	{
	note(fmt("done %d", sent));
	}
