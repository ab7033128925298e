##! Notices about connections that lasted long. A small example of a site's own script.

@load base/frameworks/notice

module LongConnections;

export {
	redef enum Notice::Type += {
		## A connection lasted longer than the threshold.
		Found,
	};

	## How long is long. An option: it can be changed while Zeek runs.
	option threshold = 1 hr;
}

event connection_state_remove(c: connection)
	{
	if ( c$duration < threshold )
		return;

	NOTICE([$note=Found, $conn=c,
	        $msg=fmt("%s talked to %s for %s", c$id$orig_h, c$id$resp_h, c$duration),
	        $identifier=cat(c$id$orig_h, c$id$resp_h)]);
	}
