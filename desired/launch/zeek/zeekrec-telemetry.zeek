##! Lets the telemetry of a node that captures say how many packets it has received and dropped, whatever else is loaded.
##!
##! The names are those of misc/stats, which says the same and writes a log besides: where both are loaded there is one counter of
##! each name, and both set it to what the packet source says.

@load base/frameworks/telemetry

module Zeekrec;

const telemetry_no_labels: vector of string = vector();

global telemetry_received = Telemetry::register_counter_family(Telemetry::MetricOpts(
    $prefix="zeek",
    $name="net-received-packets",
    $unit="",
    $help_text="Total number of packets received",
));

global telemetry_dropped = Telemetry::register_counter_family(Telemetry::MetricOpts(
    $prefix="zeek",
    $name="net-dropped-packets",
    $unit="",
    $help_text="Total number of packets dropped",
));

# What they were set to: to set a counter back is an error.
global telemetry_received_is = 0;
global telemetry_dropped_is = 0;

hook Telemetry::sync()
	{
	local stats = get_net_stats();

	if ( stats$pkts_recvd >= telemetry_received_is )
		{
		telemetry_received_is = stats$pkts_recvd;
		Telemetry::counter_family_set(telemetry_received, telemetry_no_labels, stats$pkts_recvd);
		}

	if ( reading_live_traffic() && stats$pkts_dropped >= telemetry_dropped_is )
		{
		telemetry_dropped_is = stats$pkts_dropped;
		Telemetry::counter_family_set(telemetry_dropped, telemetry_no_labels, stats$pkts_dropped);
		}
	}
