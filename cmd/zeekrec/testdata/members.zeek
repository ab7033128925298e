# Writes down what the node knows of its cluster whenever that changes, and writes a log of its own.

module Members;

export {
	redef enum Log::ID += { LOG };

	type Info: record {
		ts: time &log;
		node: string &log;
	};
}

global page = open(fmt("members-%d.txt", getpid()));
global last = "";

function topics(pool: Cluster::Pool): string
	{
	local all = "";
	local i = 0;

	while ( i < 100 )
		{
		all += Cluster::hrw_topic(pool, fmt("key-%d", i)) + " ";
		++i;
		}

	return md5_hash(all);
	}

function names(): string
	{
	local all: vector of string;

	for ( name, n in Cluster::nodes )
		all += fmt("%s=%s", name, n$node_type);

	sort(all, strcmp);
	return join_string_vec(all, ",");
	}

event look()
	{
	local now = fmt("workers %d/%d proxies %d/%d hrw %s %s rr %s %s",
		Cluster::get_active_node_count(Cluster::WORKER), Cluster::get_node_count(Cluster::WORKER),
		Cluster::get_active_node_count(Cluster::PROXY), Cluster::get_node_count(Cluster::PROXY),
		topics(Cluster::proxy_pool), topics(Cluster::worker_pool),
		Cluster::rr_topic(Cluster::proxy_pool) != "", names());

	if ( now != last )
		print page, fmt("%.6f %s", current_time(), now);

	last = now;
	schedule 20msec { look() };
	}

event write()
	{
	Log::write(LOG, Info($ts=current_time(), $node=Cluster::node));
	schedule 100msec { write() };
	}

event zeek_init() &priority=-30
	{
	set_buf(page, F);
	Log::create_stream(LOG, Log::Stream($columns=Info, $path="members"));
	schedule 20msec { look() };
	schedule 100msec { write() };
	}
