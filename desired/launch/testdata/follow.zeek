# Shows what the node knows of its cluster whenever it is asked to, and lets others come and go, without any network.

@load base/frameworks/input

module Cluster;

export {
	const test_fresh = F &redef;
	const test_pools = F &redef;
}

type TestLine: record {
	s: string;
};

# Pools of all kinds, besides the three that there are.
event zeek_init()
	{
	if ( ! test_pools )
		return;

	register_pool(PoolSpec($topic="test.a", $node_type=WORKER, $max_nodes=2, $exclusive=T));
	register_pool(PoolSpec($topic="test.b", $node_type=WORKER, $max_nodes=3));
	register_pool(PoolSpec($topic="test.c", $node_type=WORKER, $max_nodes=2));
	register_pool(PoolSpec($topic="zz.test.d", $node_type=PROXY, $max_nodes=1));
	register_pool(PoolSpec($topic="zz.test.e", $node_type=LOGGER));
	}

function test_say(s: string)
	{
	print s;
	flush_all();
	}

function test_show()
	{
	local names: vector of string;

	for ( name, _ in nodes )
		names += name;

	sort(names, strcmp);

	for ( _, name in names )
		{
		local n = nodes[name];
		test_say(fmt("%s %s %s %s %s %s %s", name, n$node_type, n$ip, n$p, n?$metrics_port ? n$metrics_port : 0/unknown,
		             n?$manager ? n$manager : "", n?$id ? n$id : "down"));
		}

	for ( i in registered_pools )
		{
		local p = registered_pools[i];
		local s = p$spec$topic + ":";

		for ( j in p$node_list )
			s += fmt(" %s%s", p$node_list[j]$name, p$node_list[j]$alive ? "+" : "");

		local keys = "";
		local k = 0;

		while ( k < 20 )
			{
			keys += hrw_topic(p, fmt("key %d", k)) + ",";
			++k;
			}

		test_say(fmt("%s; %d nodes, %d alive, %d sites, hrw %s, rr %s", s, |p$nodes|, p$alive_count, |p$hrw_pool$sites|, md5_hash(keys),
		             rr_topic(p)));
		}

	test_say(fmt("workers %d of %d, proxies %d of %d", get_active_node_count(WORKER), get_node_count(WORKER),
	             get_active_node_count(PROXY), get_node_count(PROXY)));
	test_say(".");
	}

event Cluster::node_up(name: string, id: string)
	{
	test_say(fmt("up %s %s", name, id));
	}

event Cluster::node_down(name: string, id: string)
	{
	test_say(fmt("down %s %s", name, id));
	}

event reporter_error(t: time, msg: string, location: string)
	{
	test_say(fmt("error %s", msg));
	}

# Not by way of the log: nobody writes one here.
event reporter_warning(t: time, msg: string, location: string)
	{
	if ( hook Reporter::log_policy(Reporter::Info($ts=t, $level=Reporter::WARNING, $message=msg), Reporter::LOG, Log::Filter($name="test")) )
		test_say(fmt("warning %s", msg));
	}

event test_order(description: Input::EventDescription, tpe: Input::Event, s: string)
	{
	local w = split_string(s, / /);

	switch ( w[0] )
		{
		case "hello":
			event Cluster::hello(w[1], w[2]);
			break;
		case "gone":
			event Cluster::Backend::ZeroMQ::unsubscription(Cluster::nodeid_topic(w[1]));
			break;
		case "goodbye":
			terminate();
			break;
		}
	}

# After what was ordered, what that raised, and so on.
event test_settled(s: string, more: count)
	{
	if ( more > 0 )
		event test_settled(s, more - 1);
	else if ( s == "show" )
		test_show();
	}

event test_order(description: Input::EventDescription, tpe: Input::Event, s: string) &priority=-5
	{
	event test_settled(s, 9);
	}

event Input::end_of_data(name: string, source: string) &priority=-5
	{
	if ( name == "zeekrec-members" )
		test_say("read");
	}

event test_look()
	{
	Input::force_update("zeekrec-members");
	Input::force_update("orders");
	schedule 20msec { test_look() };
	}

event zeek_init() &priority=-50
	{
	if ( test_fresh )
		{
		test_show();
		terminate();
		return;
		}

	Input::add_event(Input::EventDescription($source="orders", $name="orders", $fields=TestLine, $ev=test_order, $want_record=F,
	                                         $reader=Input::READER_RAW, $mode=Input::STREAM));
	schedule 20msec { test_look() };
	}
