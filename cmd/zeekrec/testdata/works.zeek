# What nodes do in the tests that ask whether a cluster works as a whole. All but loggers write numbered lines to a log. Workers
# report their names to SumStats, and the same hosts to known-hosts, ten every two seconds. What is not a log goes to
# works.txt in the node's folder: time, pid, what, and more.

@load base/frameworks/sumstats
@load protocols/conn/known-hosts

module Works;

export {
	redef enum Log::ID += { LOG };

	type Line: record {
		ts: time &log;
		node: string &log;
		pid: count &log;
		n: count &log;
	};

	## Lines per second.
	const rate = 100.0 &redef;

	global beat: event();
	global hosts: event();
}

global page: file;
global began: time;
global written = 0;

function note(what: string)
	{
	print page, fmt("%.6f %d %s", current_time(), getpid(), what);
	}

event Works::beat()
	{
	local due = double_to_count(interval_to_double(current_time() - began) * rate);

	while ( written < due )
		{
		++written;
		Log::write(LOG, Line($ts=current_time(), $node=Cluster::node, $pid=getpid(), $n=written));
		}

	schedule 10msec { Works::beat() };
	}

event Works::hosts()
	{
	SumStats::observe("works", SumStats::Key($str="all"), SumStats::Observation($str=Cluster::node));
	schedule 200msec { Works::hosts() };
	}

event zeek_init() &priority=-30
	{
	page = open_for_append("works.txt");
	set_buf(page, F);
	note("init");
	Log::create_stream(LOG, Log::Stream($columns=Line, $path="works"));
	SumStats::create([
		$name="works", $epoch=2sec,
		$reducers=set(SumStats::Reducer($stream="works", $apply=set(SumStats::UNIQUE))),
		$epoch_result(ts: time, key: SumStats::Key, result: SumStats::Result) = {
			note(fmt("sum %d", result["works"]$unique));
		}]);
	began = current_time();

	if ( Cluster::local_node_type() == Cluster::LOGGER )
		return;

	if ( Cluster::local_node_type() == Cluster::WORKER )
		schedule 100msec { Works::hosts() };

	event Works::beat();
	}

event zeek_done()
	{
	note(fmt("done %d", written));
	}

# known-hosts keeps its own event to itself.
module Known;

event Works::hosts()
	{
	local round = double_to_count(time_to_double(current_time()) / 2) % 65536;
	local i = 1;

	while ( i <= 10 )
		{
		event Known::host_found(Known::HostsInfo($ts=current_time(),
			$host=count_to_v4_addr(167772160 + round * 256 + i)));
		++i;
		}
	}
