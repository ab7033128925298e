##! Options of every type, for TestLiveOptions.

@load base/frameworks/notice
@load base/frameworks/config

module Tune;

export {
	type Colour: enum { RED, GREEN, BLUE };
	type Rec: record { a: count; };

	option yes = F;
	option number = 1;
	option whole: int = -1;
	option real = 0.5;
	option span = 1min;
	option text = "a";
	option shape = /a/;
	option door = 1/tcp;
	option host = 192.0.2.1;
	option net = 192.0.2.0/24;
	option colour = RED;
	option words: set[string] = { "a" };
	option numbers: set[count] = {};
	option hosts: set[addr] = {};
	option colours: set[Colour] = {};
	option spans: vector of interval = vector();
	option list: vector of string = vector();

	# What no file can have.
	option rec = Rec($a=1);
	option tab: table[string] of count = {};
	option pairs: set[string, count] = {};
	const fixed = 1 &redef;
}

# What handlers see.
event zeek_init()
	{
	Option::set_change_handler("Tune::number", function(id: string, v: count): count
		{
		print fmt("changed to %d", v);
		return v;
		});
	}
