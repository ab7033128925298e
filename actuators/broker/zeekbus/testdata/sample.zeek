# Lets a worker say everything that can be said on the bus: TestZeek asks for it.

redef Control::controllee_listen = F;
redef exit_only_after_terminate = T;

module Sample;

export {
	type Color: enum { RED, GREEN };
	type Rec: record { a: count; b: string &optional; c: vector of addr &default=vector(); };

	global go: event();
	global scalars: event(b: bool, c: count, i: int, d: double, s: string, t: time, iv: interval, e: Color);
	global net: event(a: addr, a6: addr, n: subnet, n6: subnet, p: port, pu: port, pi: port, px: port);
	global boxes: event(s: set[count], s2: set[string, port], t: table[string] of count, t2: table[addr, count] of Rec,
	                    v: vector of string, vv: vector of set[subnet], r: Rec, es: set[count], et: table[string] of count, ev: vector of count);
	global odd: event(p: pattern, f: function(x: count): string, h: opaque of cardinality);
	global fine: event(s: string, d: vector of double, t: vector of time, i: vector of interval);
	global unreadable: event(s: string, d: vector of double);
	global none: event();
	global echo: event(d: vector of double, s: string, t: vector of time, i: interval, st: set[count], tb: table[string] of count,
	                   a: addr, n: subnet, p: port, e: Color, b: bool, x: int);
	global echoed: event(text: string);
	global done: event();

	redef enum Log::ID += { LOG };
	type Line: record {
		ts: time &log; b: bool &log; i: int &log; c: count &log; d: double &log; iv: interval &log; s: string &log; e: Color &log;
		p: port &log; pu: port &log; a: addr &log; a6: addr &log; n: subnet &log; n6: subnet &log;
		ss: set[string] &log; vc: vector of count &log; sn: set[subnet] &log; es: set[count] &log;
		o: string &log &optional; oc: count &log &optional; vo: vector of string &log &optional; fn: function(x: count): string &log;
	};
}

function hi(x: count): string { return "hi"; }

event scalars(b: bool, c: count, i: int, d: double, s: string, t: time, iv: interval, e: Color) {}
event net(a: addr, a6: addr, n: subnet, n6: subnet, p: port, pu: port, pi: port, px: port) {}
event boxes(s: set[count], s2: set[string, port], t: table[string] of count, t2: table[addr, count] of Rec,
            v: vector of string, vv: vector of set[subnet], r: Rec, es: set[count], et: table[string] of count, ev: vector of count) {}
event odd(p: pattern, f: function(x: count): string, h: opaque of cardinality) {}
event fine(s: string, d: vector of double, t: vector of time, i: vector of interval) {}
event unreadable(s: string, d: vector of double) {}
event none() {}
event echoed(text: string) {}
event done() {}

event zeek_init()
	{
	Log::create_stream(Sample::LOG, [$columns=Line, $path="sample"]);
	}

event echo(d: vector of double, s: string, t: vector of time, i: interval, st: set[count], tb: table[string] of count,
           a: addr, n: subnet, p: port, e: Color, b: bool, x: int)
	{
	Cluster::publish("zeek.sample", echoed, fmt("%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s", d, s, t, i, st, tb, a, n, p, e, b, x));
	}

event go()
	{
	local topic = "zeek.sample";
	local es: set[count];
	local et: table[string] of count;
	local ev: vector of count;
	local h = hll_cardinality_init(0.3, 0.9);
	local inf = 1e300 * 1e300;
	local moment = double_to_time(1700000000.123456);

	Cluster::publish(topic, scalars, T, 18446744073709551615, -5, 0.1, "hello", double_to_time(1700000000.123), 90sec, GREEN);
	Cluster::publish(topic, net, 1.2.3.4, [2001:db8::1], 10.0.0.0/8, [2001:db8::]/32, 80/tcp, 53/udp, 8/icmp, 7/unknown);
	Cluster::publish(topic, boxes, set(3, 1, 2), set(["b", 80/tcp], ["a", 53/udp]), table(["x"] = 1, ["a"] = 2),
	                 table([1.2.3.4, 1] = Rec($a=1, $b="x"), [[::1], 2] = Rec($a=2)), vector("b", "a"),
	                 vector(set(10.0.0.0/8), set([::]/0, 0.0.0.0/0)), Rec($a=7, $c=vector(1.1.1.1)), es, et, ev);
	Cluster::publish(topic, odd, /foo|bar/, hi, h);
	Cluster::publish(topic, fine, "q\"b\\s\x01\x7f\x80\xff\n\r\t\x0b\x0c\x08/\xc3\xa9",
	                 vector(0.0, -0.0, 1.0, -1.5, 1e15, 123456.789, 0.000001, 1e-7, 1e17, 3.141592653589793),
	                 vector(double_to_time(0.0), double_to_time(1700000000.0), double_to_time(1700000000.5), double_to_time(1.25)),
	                 vector(0sec, 1usec, 1msec, 1sec, 1hr, -5sec, 1.5sec));
	Cluster::publish(topic, unreadable, "\x00", vector(inf, -inf, inf - inf, 1e19));
	Cluster::publish(topic, none);

	Log::write(Sample::LOG, Line($ts=moment, $b=T, $i=-5, $c=18446744073709551615, $d=0.1, $iv=90sec, $s="a\x00b\xff", $e=RED,
	           $p=80/tcp, $pu=7/unknown, $a=1.2.3.4, $a6=[2001:db8::1], $n=10.0.0.0/8, $n6=[2001:db8::]/32,
	           $ss=set("x", "y"), $vc=vector(1, 2, 3), $sn=set(10.0.0.0/8, [::1]/128), $es=es, $fn=hi));
	Log::write(Sample::LOG, Line($ts=double_to_time(0.0), $b=F, $i=5, $c=0, $d=-1.5, $iv=-1sec, $s="", $e=GREEN,
	           $p=53/udp, $pu=8/icmp, $a=0.0.0.0, $a6=[::], $n=0.0.0.0/0, $n6=[::]/0,
	           $ss=set(""), $vc=vector(), $sn=set(1.2.3.4/32), $es=set(1), $o="set", $oc=1, $vo=vector("x"), $fn=hi));
	Log::flush(Sample::LOG);
	Log::flush(Cluster::LOG);
	Cluster::publish(topic, done);
	}
