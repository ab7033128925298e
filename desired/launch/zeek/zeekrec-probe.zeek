##! Writes down which names this Zeek's scripts let be redefined, and the values of those that are options; then ends, before
##! anything else happens: nothing is opened, and nobody is joined.

@load ./zeekrec-tune
@load base/frameworks/logging
@load base/frameworks/telemetry/options

module Zeekrec;

type ProbeName: record {
	## It is an option, in the sense of Zeek's scripts.
	opt: bool;
	## The full name of its type, where it has a value.
	t: string;
	## Its value as JSON, of an option that may be read from a file.
	json: string &optional;
};

type Probe: record {
	## Logs are written here.
	logs: bool;
	names: table[string] of ProbeName;
};

# The port is the running node's.
redef Telemetry::metrics_port = 0/unknown;

# The name of a value's type, where "enum " says of a type with a name of its own that it is one, also within a set or a vector.
function probe_type(v: any): string
	{
	local t = type_name(v);
	local before = "";
	local after = "";

	if ( /^set\[/ in t )
		{
		before = "set[";
		after = "]";
		t = t[4:-1];
		}
	else if ( /^vector of / in t )
		{
		before = "vector of ";
		t = t[10:];
		}

	if ( |enum_names(t)| > 0 )
		t = "enum " + t;

	return before + t + after;
	}

event zeek_init() &priority=1000000
	{
	local p = Probe($logs=Log::enable_local_logging, $names=table());

	for ( id, info in global_ids() )
		{
		if ( ! info$option_value && ! info$redefinable )
			next;

		local n = ProbeName($opt=info$option_value, $t=info$type_name);

		if ( info$option_value )
			{
			local v = lookup_ID(id);
			n$t = probe_type(v);

			if ( /^(bool|int|count|double|time|interval|string|port|addr|subnet|enum|pattern|set\[|vector of )/ in n$t )
				n$json = tune_json(v);
			}

		p$names[id] = n;
		}

	local out = open("zeekrec-probe.tmp");
	write_file(out, to_json(p));
	close(out);
	rename("zeekrec-probe.tmp", "zeekrec-probe.json");
	exit(0);
	}
