##! Lets the manager hand on what the Config framework reads from files, and what other nodes set by it.
##!
##! Zeek's own broadcast goes to Cluster::broadcast_topics, a constant that was evaluated before the ZeroMQ backend renamed
##! the topics: nobody has subscribed to those in it, and only nodes that join later would get a value. Where the constant
##! is right this does nothing.

@load base/frameworks/cluster
@load base/frameworks/config

# Config::cluster_set_option is exported by no version.
module Config;

function zeekrec_hand_on(id: string, val: any, location: string)
	{
	if ( Cluster::worker_topic in Cluster::broadcast_topics )
		return;

	# Not to the manager, which has it.
	Cluster::publish(Cluster::logger_topic, cluster_set_option, id, val, location);
	Cluster::publish(Cluster::proxy_topic, cluster_set_option, id, val, location);
	Cluster::publish(Cluster::worker_topic, cluster_set_option, id, val, location);
	}

event InputConfig::new_value(name: string, source: string, id: string, value: any) &priority=-5
	{
	if ( source in config_files || starts_with(name, "config-oneshot-") )
		zeekrec_hand_on(id, value, source);
	}

event cluster_set_option(ID: string, val: any, location: string) &priority=-5
	{
	zeekrec_hand_on(ID, val, location);
	}
