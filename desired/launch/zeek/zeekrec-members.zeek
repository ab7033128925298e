##! Lets a node follow the members of its cluster while it runs (membership = live).
##!
##! zeekrec keeps a table of all nodes of the cluster beside each node. This script reads it again whenever it
##! changes, and makes Cluster::nodes, the pools and the counts what they would be if the node were started now.
##! Nobody is disturbed by that.
##!
##!   - Who is new is known before it says hello, or a moment later: a hello that comes too early is kept until the
##!     table has its name, instead of being an error.
##!   - Who is to leave gets nothing more by way of the pools at once, and stays known until it has gone.
##!   - Workers that a worker learns of are counted and are in its pools, but raise no node_up and node_down there: what is
##!     keyed to these is the caches of the known-* scripts, which would be emptied on every worker for nothing.

@load base/frameworks/cluster
@load base/frameworks/input
@load base/frameworks/reporter

module Cluster;

export {
	## The table of members; empty: the node follows none.
	const zeekrec_members_file = "" &redef;

	## Raised at nodes that follow their tables, by one that saw a change: others may not have looked yet.
	global zeekrec_reread: event();
}

type ZeekrecName: record {
	name: string;
};

type ZeekrecMember: record {
	role: string;
	address: string;
	p: count;
	metrics_port: count;
};

const zeekrec_stream = "zeekrec-members";
const zeekrec_topic = "zeekrec.members.";

const zeekrec_types: table[string] of NodeType = {
	["manager"] = MANAGER,
	["logger"] = LOGGER,
	["proxy"] = PROXY,
	["worker"] = WORKER,
};

# The table as it was read last.
global zeekrec_members: table[string] of ZeekrecMember;

# Names that are not in the table any more and still up.
global zeekrec_leaving: set[string];

# Names that come and go without node_up and node_down.
global zeekrec_quiet: set[string];

# Hellos of names that are not in the table, by name. Each goes when its node does; the bound is for those who say hello
# and mean nothing by it.
const zeekrec_early_limit = 10000;
global zeekrec_early: table[string] of string;

# When the table was looked at for somebody else's sake.
global zeekrec_asked: time = double_to_time(0.0);

# Warnings that would be wrong, and what they say.
global zeekrec_hushed: set[string] &create_expire = 1min;

hook Reporter::log_policy(rec: Reporter::Info, id: Log::ID, filter: Log::Filter)
	{
	if ( rec$message in zeekrec_hushed )
		break;
	}

# The backend warns when somebody goes whom it takes to be unknown.
function zeekrec_hush(id: string)
	{
	add zeekrec_hushed[fmt("unsubscription of unknown node with id '%s'", id)];
	}

function zeekrec_look_now()
	{
	zeekrec_asked = current_time();
	Input::force_update(zeekrec_stream);
	}

# What node_up does without the event.
function zeekrec_up(name: string, id: string)
	{
	local n = nodes[name];
	n$id = id;

	if ( n$node_type !in active_node_ids )
		active_node_ids[n$node_type] = set();

	add active_node_ids[n$node_type][id];

	for ( i in registered_pools )
		mark_pool_node_alive(registered_pools[i], name);
	}

# What node_down does without the event.
function zeekrec_down(name: string)
	{
	local n = nodes[name];
	Cluster::log(fmt("node down: %s", name));

	if ( n$node_type in active_node_ids )
		delete active_node_ids[n$node_type][n$id];

	delete n$id;

	for ( i in registered_pools )
		mark_pool_node_dead(registered_pools[i], name);
	}

function zeekrec_forget(name: string)
	{
	delete nodes[name];
	delete zeekrec_leaving[name];
	delete zeekrec_quiet[name];
	}

# Who is in which pool, in order, for each of registered_pools: what pools.zeek gives out at the start. It depends on
# the names alone, so all nodes agree on it whatever has happened before.
function zeekrec_shares(): vector of vector of string
	{
	local eligible: table[NodeType] of vector of string;

	for ( t in set(WORKER, PROXY, LOGGER) )
		{
		eligible[t] = vector();

		for ( _, nn in nodes_with_type(t) )
			if ( nn$name !in zeekrec_leaving )
				eligible[t] += nn$name;
		}

	if ( manager_is_logger )
		for ( _, mn in nodes_with_type(MANAGER) )
			{
			eligible[LOGGER] += mn$name;
			break;
			}

	local shares: vector of vector of string;
	local spec: PoolSpec;

	# Exclusive pools choose first.
	for ( i in registered_pools )
		{
		spec = registered_pools[i]$spec;
		shares[i] = vector();

		if ( ! spec$exclusive || spec$node_type !in eligible )
			next;

		local rest: vector of string = vector();

		for ( _, name in eligible[spec$node_type] )
			{
			if ( |shares[i]| < spec$max_nodes )
				shares[i] += name;
			else
				rest += name;
			}

		eligible[spec$node_type] = rest;
		}

	# The others go round.
	local turn: table[NodeType] of count &default=0;

	for ( i in registered_pools )
		{
		spec = registered_pools[i]$spec;

		if ( spec$exclusive || spec$node_type !in eligible )
			next;

		local names = eligible[spec$node_type];
		local n = |names|;

		if ( spec?$max_nodes && spec$max_nodes < n )
			n = spec$max_nodes;

		while ( |shares[i]| < n )
			{
			local at = turn[spec$node_type];
			shares[i] += names[at];
			turn[spec$node_type] = (at + 1) % |names|;
			}
		}

	return shares;
	}

function zeekrec_arrange_pool(pool: Pool, share: vector of string)
	{
	local wanted: set[string];
	local out: set[string];
	local changed = F;

	for ( _, name in share )
		add wanted[name];

	for ( had, _ in pool$nodes )
		if ( had !in wanted )
			add out[had];

	for ( gone in out )
		{
		mark_pool_node_dead(pool, gone);
		delete pool$nodes[gone];
		changed = T;

		if ( gone == node )
			Cluster::unsubscribe(pool$spec$topic);
		}

	for ( _, name in share )
		{
		if ( ! init_pool_node(pool, name) )
			next;

		changed = T;

		if ( nodes[name]?$id )
			mark_pool_node_alive(pool, name);

		if ( name == node )
			Cluster::subscribe(pool$spec$topic);
		}

	if ( ! changed )
		return;

	# What goes round begins anew: where it stood may be beyond the end now.
	pool$node_list = vector();
	clear_table(pool$rr_key_seq);

	for ( _, name in share )
		pool$node_list += pool$nodes[name];
	}

# Makes of the node what it would be if it were started with the table. Returns whether that took anything.
function zeekrec_follow(): bool
	{
	# The table of a cluster that this node is not in is a mistake.
	if ( node !in zeekrec_members )
		return F;

	local mgr = "";

	for ( name, m in zeekrec_members )
		if ( m$role == "manager" )
			mgr = name;

	local gone: set[string];
	local come: set[string];
	local back: set[string];

	for ( name, n in nodes )
		{
		if ( name == node )
			next;

		local stays = name in zeekrec_members && zeekrec_members[name]$role in zeekrec_types
		              && zeekrec_types[zeekrec_members[name]$role] == n$node_type;

		if ( ! stays && name !in zeekrec_leaving )
			add gone[name];
		else if ( stays && name in zeekrec_leaving )
			add back[name];
		}

	for ( name in gone )
		{
		if ( nodes[name]?$id )
			add zeekrec_leaving[name];
		else
			zeekrec_forget(name);
		}

	for ( name in back )
		delete zeekrec_leaving[name];

	for ( name, m in zeekrec_members )
		{
		if ( m$role !in zeekrec_types || name == node || name in zeekrec_leaving )
			next;

		if ( name !in nodes )
			{
			nodes[name] = Node($node_type=zeekrec_types[m$role], $ip=0.0.0.0);
			add come[name];

			if ( m$role == "worker" && local_node_type() == WORKER )
				add zeekrec_quiet[name];
			}

		local e = nodes[name];

		# A name was resolved for the layout, and nobody asks for the address with this backend.
		if ( is_valid_ip(m$address) )
			e$ip = to_addr(m$address);

		e$p = m$p == 0 ? 0/unknown : count_to_port(m$p, tcp);

		if ( m$metrics_port != 0 )
			e$metrics_port = count_to_port(m$metrics_port, tcp);
		else
			delete e$metrics_port;

		if ( mgr != "" && m$role != "manager" )
			e$manager = mgr;
		}

	if ( |gone| + |come| + |back| == 0 )
		return F;

	local shares = zeekrec_shares();

	for ( i in registered_pools )
		zeekrec_arrange_pool(registered_pools[i], shares[i]);

	for ( name in come )
		{
		Cluster::log(fmt("zeekrec: %s is a member now", name));

		if ( name !in zeekrec_early )
			next;

		if ( name in zeekrec_quiet )
			zeekrec_up(name, zeekrec_early[name]);
		else
			event Cluster::hello(name, zeekrec_early[name]);

		delete zeekrec_early[name];
		}

	for ( name in gone )
		Cluster::log(fmt("zeekrec: %s is no member any more", name));

	return T;
	}

event Input::end_of_data(name: string, source: string)
	{
	if ( name != zeekrec_stream || ! zeekrec_follow() )
		return;

	# All nodes are told at the same time, and look once a second: they shall not differ for so long.
	if ( current_time() - zeekrec_asked > 500msec )
		Cluster::publish(zeekrec_topic, zeekrec_reread);
	}

event zeekrec_reread()
	{
	zeekrec_look_now();
	}

# The framework's own handler, of priority 10, reports an error for a name that it does not know. So the name is one
# that it knows to be up, for as long as that handler takes.
event Cluster::hello(name: string, id: string) &priority=11
	{
	if ( zeekrec_members_file == "" )
		return;

	if ( name in nodes )
		{
		if ( name in zeekrec_quiet && ! nodes[name]?$id )
			zeekrec_up(name, id);

		return;
		}

	if ( |zeekrec_early| >= zeekrec_early_limit )
		return;

	zeekrec_early[name] = id;
	nodes[name] = Node($node_type=NONE, $ip=0.0.0.0, $id=id);
	}

event Cluster::hello(name: string, id: string) &priority=9
	{
	if ( name !in zeekrec_early || name !in nodes || nodes[name]$node_type != NONE )
		return;

	delete nodes[name];
	delete active_node_ids[NONE][id];
	zeekrec_look_now();
	}

event Cluster::Backend::ZeroMQ::unsubscription(topic: string) &priority=20
	{
	local prefix = Cluster::Backend::ZeroMQ::nodeid_topic_prefix + ".";

	if ( zeekrec_members_file == "" || ! starts_with(topic, prefix) )
		return;

	local id = topic[|prefix|:][:-1];
	local whose = "";

	for ( early, early_id in zeekrec_early )
		if ( early_id == id )
			whose = early;

	if ( whose != "" )
		{
		delete zeekrec_early[whose];
		zeekrec_hush(id);
		return;
		}

	for ( quiet in zeekrec_quiet )
		if ( nodes[quiet]?$id && nodes[quiet]$id == id )
			whose = quiet;

	if ( whose == "" )
		return;

	zeekrec_down(whose);
	zeekrec_hush(id);

	if ( whose in zeekrec_leaving )
		{
		zeekrec_forget(whose);
		zeekrec_follow(); # it may be back in another role
		}
	}

event Cluster::node_down(name: string, id: string) &priority=-20
	{
	if ( name !in zeekrec_leaving )
		return;

	zeekrec_forget(name);
	zeekrec_follow(); # it may be back in another role
	}

# After the pools were made.
event zeek_init() &priority=-10
	{
	if ( zeekrec_members_file == "" )
		return;

	Cluster::subscribe(zeekrec_topic);
	Input::add_table(Input::TableDescription(
		$source=zeekrec_members_file, $name=zeekrec_stream, $idx=ZeekrecName, $val=ZeekrecMember,
		$destination=zeekrec_members, $mode=Input::REREAD,
		# Any name is a name.
		$config=table(["unset_field"] = "\t", ["empty_field"] = "\t")));
	}
