##! Names every script that was loaded, and ends. zeekrec runs it beside running nodes, to learn what of NAME/ a node loads.
##! Statements at the top level run after all is parsed and before the first event: so nothing else of what was loaded comes to act.

module ZeekrecLoads;

redef Telemetry::metrics_port = 0/unknown;

event zeek_script_loaded(path: string, level: count)
	{
	print fmt("zeekrec-loads %s", path);
	# This one was loaded last.
	if ( path == @DIR + "/" + @FILENAME )
		{
		flush_all();
		exit(0);
		}
	}

for ( zeekrec_module in global_ids() )
	{
	if ( starts_with(zeekrec_module, "module ") && zeekrec_module != "module ZeekrecLoads" && has_module_events(zeekrec_module[7:]) )
		disable_module_events(zeekrec_module[7:]);
	}

if ( has_module_events("GLOBAL") )
	disable_module_events("GLOBAL");
