##! Counts connections per pair of hosts and notices pairs that meet very often.

@load base/frameworks/notice
@load base/frameworks/sumstats

module Beacons;

export {
	redef enum Notice::Type += {
		## Two hosts connected more often than the threshold within the interval.
		Found,
	};

	const epoch = 10 min &redef;
	const threshold = 1000.0 &redef;
}

event zeek_init()
	{
	local count_them = SumStats::Reducer($stream="beacons", $apply=set(SumStats::SUM));

	SumStats::create([$name="beacons",
	                  $epoch=epoch,
	                  $reducers=set(count_them),
	                  $threshold=threshold,
	                  $threshold_val(key: SumStats::Key, result: SumStats::Result): double =
	                  	{ return result["beacons"]$sum; },
	                  $threshold_crossed(key: SumStats::Key, result: SumStats::Result) =
	                  	{
	                  	NOTICE([$note=Found, $src=key$host,
	                  	        $msg=fmt("%s connected to %s %.0f times in %s", key$host, key$str, result["beacons"]$sum, epoch),
	                  	        $identifier=cat(key$host, key$str)]);
	                  	}]);
	}

event new_connection(c: connection)
	{
	SumStats::observe("beacons", [$host=c$id$orig_h, $str=cat(c$id$resp_h)], [$num=1]);
	}
