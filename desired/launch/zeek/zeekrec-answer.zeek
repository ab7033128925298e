##! Lets a node answer what zeekrec asks it through its broker.
##!
##! Who asks publishes Zeekrec::ask to the topic of the node, with a number of its own; the node publishes Zeekrec::answer,
##! with that number, below "zeekrec/answer/". Nobody else is subscribed to that. An answer comes from the main loop, so
##! that one comes says that the loop goes round.

@load base/frameworks/cluster

module Zeekrec;

export {
	## A question to this node.
	##
	## number: which one it is, for who asks.
	##
	## what: "ping" for nothing but an answer, "value" for the value of a global identifier, "netstats" for the packet
	##       counters.
	##
	## arg: the identifier, for "value".
	global ask: event(number: string, what: string, arg: string);

	## The answer to one.
	##
	## name: the node.
	##
	## ok: whether text is what was asked for, else it says why not.
	##
	## text: JSON, but for "ping".
	global answer: event(number: string, name: string, ok: bool, text: string);
}

# Bytes of an answer: whoever asks takes no more at a time, and neither should the bus.
const most = 8388608;

function reply(number: string, ok: bool, text: string)
	{
	Cluster::publish("zeekrec/answer/" + Cluster::node, Zeekrec::answer, number, Cluster::node, ok, text);
	}

function reply_value(number: string, id: string)
	{
	# What is encrypted with it would be no secret any more.
	if ( /secretkey/ in to_lower(id) )
		{
		reply(number, F, "not shown, since it is a secret");
		return;
		}

	local val = lookup_ID(id);

	# In the place of a value, these say that there is none.
	if ( type_name(val) == "string" )
		{
		local text: string = val;

		if ( text == "<unknown id>" || text == "<no ID value>" )
			{
			reply(number, F, text[1:-1]);
			return;
			}
		}

	local json = to_json(val);

	if ( |json| > most )
		reply(number, F, fmt("its value is too large to be shown: %d bytes", |json|));
	else
		reply(number, T, json);
	}

event Zeekrec::ask(number: string, what: string, arg: string)
	{
	switch ( what )
		{
		case "ping":
			reply(number, T, "");
			break;
		case "value":
			reply_value(number, arg);
			break;
		case "netstats":
			reply(number, T, fmt("{\"time\":%s,\"stats\":%s}", to_json(network_time()), to_json(get_net_stats())));
			break;
		default:
			reply(number, F, fmt("unknown question \"%s\"", what));
			break;
		}
	}
