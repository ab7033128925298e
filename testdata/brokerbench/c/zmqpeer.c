/*
 * A load generator of libzmq's own sockets, set up as Zeek sets up its nodes' (ZeroMQ.cc):
 *
 *	zmqpeer pub   --connect EP --count N --size BYTES --topic T [--spread K] [--first I] [--ready M] [--window W]
 *	zmqpeer sub   --connect EP --count N --topic T [--spread K] [--first I]
 *	zmqpeer storm --connect EP --count N --topic T
 *	zmqpeer keys
 *
 * and any of them: [--shared FILE]
 *
 * pub has N XPUB sockets, each in a thread of its own and with a context of its own, as each node has one: what libzmq does in the
 * background (one thread for each context) is not shared. They send messages of 4 frames: topic, sender's id,
 * broker-bin-v1, payload. With --spread K the messages of a publisher go to T.0. to T.K-1. in turn. It never loses a
 * message: a send waits while the queue is full. It says "ready" when each of them knows M subscribers.
 *
 * sub has N XSUB sockets, likewise. Subscriber i is subscribed to T, or to T.(i mod K)., and then to
 * bench.ready.i., by which publishers count. It checks the order and looks for gaps.
 *
 * storm has N XSUB sockets in one thread, which can all be closed and opened again at once.
 *
 * With --window W publishers wait while W messages are on their way to the slowest subscriber; subscribers tell what they
 * have got in FILE, which all map: a counter of 8 bytes for each, 64 bytes apart. So large messages do not fill the memory.
 *
 * They obey lines on stdin, and end with it:
 *
 *	rate R     pub: R messages a second in total; 0 is as fast as can be, -1 none (which is how it begins)
 *	mark       answers: mark NANOSECONDS MESSAGES LOST DISORDERED (of all sockets)
 *	each       sub answers: each MESSAGES... (of each socket)
 *	hist       sub answers: hist BUCKET:COUNT... latencies since the start; only paced messages are counted
 *	drop       storm: closes and opens all; answers when a message has arrived at each: back MEDIAN LAST (nanoseconds)
 *
 * Latencies are counted in buckets that are 1/64 of a power of two wide (histogram.go reads them).
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum {
	MAX_SOCKETS = 1024,
	MAX_TOPICS = 64,
	SUB_BITS = 6, /* of a bucket's index below the power of two */
	BUCKETS = (41 - SUB_BITS) << SUB_BITS,
	IDLE_MS = 50,	    /* how long a call waits before it looks whether something else is wanted */
	TICK_NS = 100000,   /* paced messages are sent at most that often; what is due goes together */
	BURST = 64,	    /* messages between two looks at the clock and at the subscriptions */
	BEHIND_NS = 20000000 /* what a paced publisher makes up for; more than that is given up */
};

#define READY_PREFIX "bench.ready."
#define FORMAT "broker-bin-v1"

/* What a payload begins with. */
struct head {
	uint64_t sequence; /* of this publisher on this topic, from 0 */
	uint64_t sent;	   /* CLOCK_MONOTONIC, 0: not to be measured */
	uint32_t publisher;
	uint32_t topic;
};

struct options {
	const char *endpoint, *topic;
	int count, first, spread, ready, window;
	const char *shared;
	size_t size;
};

/* What subscribers tell publishers of other processes. */
struct told {
	_Alignas(64) _Atomic uint64_t messages;
};

struct peer {
	_Alignas(64) _Atomic uint64_t messages;
	_Atomic uint64_t lost, disordered;
	int index;
	void *socket;
	pthread_t thread;
	uint64_t *next; /* sub: the sequence expected, per publisher and topic */
	_Atomic uint64_t *histogram;
};

static struct options options;
static struct peer peers[MAX_SOCKETS];
static struct told *told; /* of each subscriber, NULL: nobody asks */
static _Atomic uint64_t claimed;
static _Atomic int64_t wanted_rate = -1;
static _Atomic int ready_peers;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* add counts up what only this thread writes and others read. */
static inline void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void say_ready(void)
{
	if (atomic_fetch_add(&ready_peers, 1) + 1 == options.count)
		printf("ready\n");
}

static void *new_context(void)
{
	void *context = zmq_ctx_new();
	if (context == NULL)
		fail("make a context");
	check(zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 2 * MAX_SOCKETS), "allow for more sockets");
	return context;
}

static void *open_socket(void *context, int type)
{
	void *socket = zmq_socket(context, type);
	if (socket == NULL)
		fail("make a socket");
	set_int(socket, ZMQ_LINGER, 0, "set the linger period");
	if (type == ZMQ_XPUB) {
		set_int(socket, ZMQ_XPUB_VERBOSE, 1, "set XPUB_VERBOSE");
		set_int(socket, ZMQ_XPUB_NODROP, 1, "set XPUB_NODROP");
		set_int(socket, ZMQ_SNDHWM, 1000, "set the high-water mark");
		set_int(socket, ZMQ_SNDTIMEO, IDLE_MS, "set the timeout");
	} else {
		set_int(socket, ZMQ_RCVHWM, 1000, "set the high-water mark");
	}
	set_int(socket, ZMQ_RCVTIMEO, IDLE_MS, "set the timeout");
	const char *server = key("SERVER_PUBLICKEY"), *public = key("CLIENT_PUBLICKEY"), *secret = key("CLIENT_SECRETKEY");
	if (server != NULL && public != NULL && secret != NULL) {
		set_text(socket, ZMQ_CURVE_SERVERKEY, server, "set the server's key");
		set_text(socket, ZMQ_CURVE_PUBLICKEY, public, "set the public key");
		set_text(socket, ZMQ_CURVE_SECRETKEY, secret, "set the secret key");
	}
	check(zmq_connect(socket, options.endpoint), "connect");
	return socket;
}

/* subscribe sends it as Zeek does, as a message. */
static void subscribe(void *socket, const char *topic)
{
	char message[256] = {1};
	int n = snprintf(message + 1, sizeof message - 1, "%s", topic);
	check(zmq_send(socket, message, (size_t)n + 1, 0), "subscribe");
}

static void topic_name(char *into, size_t room, int topic)
{
	if (options.spread > 0)
		snprintf(into, room, "%s.%d.", options.topic, topic);
	else
		snprintf(into, room, "%s", options.topic);
}

/* ---- publishers ---- */

/* send_frame waits while the queue is full. */
static void send_frame(void *socket, const void *data, size_t size, int flags)
{
	while (zmq_send(socket, data, size, flags) < 0) {
		if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
			fail("send");
	}
}

/* drain reads the subscriptions that have arrived; a first one of a subscriber's own topic counts. */
static int drain(void *socket, int flags, bool *seen)
{
	int new = 0;
	for (;;) {
		char message[256];
		int n = zmq_recv(socket, message, sizeof message - 1, flags);
		if (n < 0)
			return new;
		message[n < (int)sizeof message ? n : (int)sizeof message - 1] = '\0';
		flags = ZMQ_DONTWAIT;
		if (n < 1 || message[0] != 1 || strncmp(message + 1, READY_PREFIX, strlen(READY_PREFIX)) != 0)
			continue;
		int i = atoi(message + 1 + strlen(READY_PREFIX));
		if (i >= 0 && i < MAX_SOCKETS && !seen[i]) {
			seen[i] = true;
			new++;
		}
	}
}

struct publisher {
	struct peer *peer;
	char topics[MAX_TOPICS][128];
	uint64_t sequence[MAX_TOPICS];
	int turn;
	char id[128];
	char *payload;
};

/* outstanding waits until fewer messages than the window are on their way. */
static void outstanding(void)
{
	uint64_t mine = atomic_fetch_add(&claimed, 1);
	for (;;) {
		uint64_t least = UINT64_MAX;
		for (int i = 0; i < options.ready; i++) {
			uint64_t n = atomic_load_explicit(&told[i].messages, memory_order_relaxed);
			least = n < least ? n : least;
		}
		if (mine < least + (uint64_t)options.window)
			return;
		sleep_until(now_ns() + TICK_NS);
	}
}

static void publish(struct publisher *p, uint64_t sent)
{
	if (options.window > 0)
		outstanding();
	int t = p->turn;
	p->turn = options.spread > 0 ? (t + 1) % options.spread : 0;
	struct head head = {.sequence = p->sequence[t]++, .sent = sent, .publisher = (uint32_t)p->peer->index, .topic = (uint32_t)t};
	memcpy(p->payload, &head, sizeof head);
	void *socket = p->peer->socket;
	send_frame(socket, p->topics[t], strlen(p->topics[t]), ZMQ_SNDMORE);
	send_frame(socket, p->id, strlen(p->id), ZMQ_SNDMORE);
	send_frame(socket, FORMAT, strlen(FORMAT), ZMQ_SNDMORE);
	send_frame(socket, p->payload, options.size, 0);
	add(&p->peer->messages, 1);
}

static void *publisher(void *arg)
{
	struct publisher p = {.peer = arg};
	bool seen[MAX_SOCKETS] = {false};
	p.peer->socket = open_socket(new_context(), ZMQ_XPUB);
	p.turn = options.spread > 0 ? p.peer->index % options.spread : 0;
	for (int t = 0; t < (options.spread > 0 ? options.spread : 1); t++)
		topic_name(p.topics[t], sizeof p.topics[t], t);
	snprintf(p.id, sizeof p.id, "zeromq_worker-%02d_bench.example.net_%d_NrJt5f3Xy", p.peer->index, (int)getpid());
	p.payload = malloc(options.size);
	if (p.payload == NULL)
		fail("allocate");
	for (size_t i = 0; i < options.size; i++)
		p.payload[i] = (char)i;
	for (int known = 0; known < options.ready;)
		known += drain(p.peer->socket, 0, seen);
	say_ready();

	int64_t rate = -1;
	uint64_t due = 0, woken = 0;
	double interval = 0;
	for (;;) {
		drain(p.peer->socket, ZMQ_DONTWAIT, seen);
		int64_t wanted = atomic_load_explicit(&wanted_rate, memory_order_relaxed);
		if (wanted != rate) {
			rate = wanted;
			woken = now_ns();
			if (rate > 0) {
				/* publishers take turns, as independent nodes would on average */
				interval = 1e9 * options.count / (double)rate;
				due = woken + (uint64_t)(interval * (p.peer->index - options.first) / options.count);
			}
		}
		if (rate < 0) {
			drain(p.peer->socket, 0, seen); /* waits for at most IDLE_MS */
			continue;
		}
		if (rate == 0) {
			for (int i = 0; i < BURST; i++)
				publish(&p, 0);
			continue;
		}
		uint64_t until = due > woken + TICK_NS ? due : woken + TICK_NS;
		woken = now_ns();
		if (until > woken + (uint64_t)IDLE_MS * 1000000u) { /* a slow rate: not to miss what is wanted instead */
			sleep_until(woken + (uint64_t)IDLE_MS * 1000000u);
			woken = now_ns();
			continue;
		}
		sleep_until(until);
		woken = now_ns();
		if (due + BEHIND_NS < woken)
			due = woken;
		for (int i = 0; i < BURST && due <= woken; i++) {
			publish(&p, now_ns());
			due += (uint64_t)interval;
		}
	}
	return NULL;
}

/* ---- subscribers ---- */

static unsigned bucket(uint64_t ns)
{
	if (ns < (1u << SUB_BITS))
		return (unsigned)ns;
	unsigned power = 63 - (unsigned)__builtin_clzll(ns);
	unsigned index = ((power - SUB_BITS) << SUB_BITS) + (unsigned)(ns >> (power - SUB_BITS));
	return index < BUCKETS ? index : BUCKETS - 1;
}

/* take reads one message of all its frames. False: there is none now. */
static bool take(void *socket, struct head *head, int flags)
{
	zmq_msg_t frame;
	int frames = 0, more = 1;
	memset(head, 0, sizeof *head);
	while (more) {
		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, socket, frames == 0 ? flags : 0) < 0) {
			int why = zmq_errno();
			zmq_msg_close(&frame);
			if (why != EAGAIN && why != EINTR)
				fail("receive");
			if (frames == 0)
				return false;
			continue;
		}
		more = zmq_msg_more(&frame);
		if (++frames == 4 && zmq_msg_size(&frame) >= sizeof *head)
			memcpy(head, zmq_msg_data(&frame), sizeof *head);
		zmq_msg_close(&frame);
	}
	if (frames != 4) {
		fprintf(stderr, "cannot make sense of a message of %d frames\n", frames);
		_Exit(1);
	}
	return true;
}

static void *subscriber(void *arg)
{
	struct peer *peer = arg;
	int topics = options.spread > 0 ? options.spread : 1;
	peer->next = calloc((size_t)MAX_SOCKETS * (size_t)topics, sizeof *peer->next);
	if (peer->next == NULL)
		fail("allocate");
	peer->socket = open_socket(new_context(), ZMQ_XSUB);
	char topic[256];
	topic_name(topic, sizeof topic, options.spread > 0 ? peer->index % options.spread : 0);
	subscribe(peer->socket, topic);
	snprintf(topic, sizeof topic, READY_PREFIX "%d.", peer->index);
	subscribe(peer->socket, topic);
	say_ready();
	for (;;) {
		struct head head;
		if (!take(peer->socket, &head, 0))
			continue;
		if (head.sent != 0) {
			uint64_t now = now_ns();
			add(&peer->histogram[bucket(now > head.sent ? now - head.sent : 0)], 1);
		}
		if (head.publisher < MAX_SOCKETS && head.topic < (uint32_t)topics) {
			uint64_t *next = &peer->next[head.publisher * (uint32_t)topics + head.topic];
			if (head.sequence > *next)
				add(&peer->lost, head.sequence - *next);
			else if (head.sequence < *next)
				add(&peer->disordered, 1);
			if (head.sequence >= *next)
				*next = head.sequence + 1;
		} else {
			add(&peer->disordered, 1);
		}
		add(&peer->messages, 1);
		if (told != NULL)
			add(&told[peer->index].messages, 1);
	}
	return NULL;
}

/* ---- the storm ---- */

static _Atomic bool drop_wanted;

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void *storm(void *arg)
{
	(void)arg;
	static zmq_pollitem_t items[MAX_SOCKETS];
	static uint64_t back[MAX_SOCKETS];
	uint64_t from = now_ns();
	int missing = options.count;
	bool first = true;
	void *context = new_context();
	for (int i = 0; i < options.count; i++) {
		items[i] = (zmq_pollitem_t){.socket = open_socket(context, ZMQ_XSUB), .events = ZMQ_POLLIN};
		subscribe(items[i].socket, options.topic);
	}
	for (;;) {
		if (atomic_exchange(&drop_wanted, false)) {
			from = now_ns();
			missing = options.count;
			memset(back, 0, sizeof back);
			for (int i = 0; i < options.count; i++)
				zmq_close(items[i].socket);
			for (int i = 0; i < options.count; i++) {
				items[i].socket = open_socket(context, ZMQ_XSUB);
				subscribe(items[i].socket, options.topic);
			}
		}
		if (zmq_poll(items, options.count, IDLE_MS) <= 0)
			continue;
		for (int i = 0; i < options.count; i++) {
			struct head head;
			while (items[i].revents != 0 && take(items[i].socket, &head, ZMQ_DONTWAIT)) {
				add(&peers[0].messages, 1);
				if (back[i] != 0)
					continue;
				back[i] = now_ns() - from;
				if (--missing > 0)
					continue;
				if (first) {
					printf("ready\n");
				} else {
					static uint64_t sorted[MAX_SOCKETS];
					memcpy(sorted, back, sizeof sorted);
					qsort(sorted, (size_t)options.count, sizeof *sorted, by_size);
					printf("back %llu %llu\n", (unsigned long long)sorted[options.count / 2],
					       (unsigned long long)sorted[options.count - 1]);
				}
				first = false;
			}
		}
	}
	return NULL;
}

/* ---- commands ---- */

static void mark(void)
{
	uint64_t messages = 0, lost = 0, disordered = 0;
	for (int i = 0; i < options.count; i++) {
		messages += peers[i].messages;
		lost += peers[i].lost;
		disordered += peers[i].disordered;
	}
	printf("mark %llu %llu %llu %llu\n", (unsigned long long)now_ns(), (unsigned long long)messages, (unsigned long long)lost,
	       (unsigned long long)disordered);
}

static void hist(void)
{
	printf("hist");
	for (int b = 0; b < BUCKETS; b++) {
		uint64_t n = 0;
		for (int i = 0; i < options.count; i++)
			n += peers[i].histogram != NULL ? peers[i].histogram[b] : 0;
		if (n != 0)
			printf(" %d:%llu", b, (unsigned long long)n);
	}
	printf("\n");
}

static void obey(void)
{
	char line[256];
	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "rate ", 5) == 0) {
			atomic_store(&wanted_rate, atoll(line + 5));
		} else if (strcmp(line, "mark") == 0) {
			mark();
		} else if (strcmp(line, "hist") == 0) {
			hist();
		} else if (strcmp(line, "each") == 0) {
			printf("each");
			for (int i = 0; i < options.count; i++)
				printf(" %llu", (unsigned long long)peers[i].messages);
			printf("\n");
		} else if (strcmp(line, "drop") == 0) {
			atomic_store(&drop_wanted, true);
		} else {
			fprintf(stderr, "cannot obey %s\n", line);
			_Exit(1);
		}
	}
}

static int print_keys(void)
{
	static const char *const names[] = {"CLIENT", "SERVER"};
	for (int i = 0; i < 2; i++) {
		char public[41], secret[41];
		check(zmq_curve_keypair(public, secret), "make keys");
		printf(KEY_PREFIX "%s_PUBLICKEY=%s\n" KEY_PREFIX "%s_SECRETKEY=%s\n", names[i], public, names[i], secret);
	}
	return 0;
}

static int number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);
	if (*end != '\0' || n < 0 || n > INT_MAX) {
		fprintf(stderr, "cannot read the number %s\n", text);
		_Exit(2);
	}
	return (int)n;
}

static void read_options(int argc, char **argv)
{
	options = (struct options){.count = 1, .size = 100, .topic = "zeek.cluster.worker"};
	for (int i = 2; i + 1 < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		if (strcmp(name, "--connect") == 0)
			options.endpoint = value;
		else if (strcmp(name, "--topic") == 0)
			options.topic = value;
		else if (strcmp(name, "--count") == 0)
			options.count = number(value);
		else if (strcmp(name, "--first") == 0)
			options.first = number(value);
		else if (strcmp(name, "--spread") == 0)
			options.spread = number(value);
		else if (strcmp(name, "--ready") == 0)
			options.ready = number(value);
		else if (strcmp(name, "--size") == 0)
			options.size = (size_t)number(value);
		else if (strcmp(name, "--window") == 0)
			options.window = number(value);
		else if (strcmp(name, "--shared") == 0)
			options.shared = value;
	}
	if (options.size < sizeof(struct head))
		options.size = sizeof(struct head);
	if (options.endpoint == NULL || options.count < 1 || options.first + options.count > MAX_SOCKETS || options.spread > MAX_TOPICS ||
	    options.ready > MAX_SOCKETS || (options.window > 0 && (options.shared == NULL || options.ready < 1))) {
		fprintf(stderr, "usage: zmqpeer pub|sub|storm --connect ENDPOINT --count N ... (at most %d), or zmqpeer keys\n", MAX_SOCKETS);
		_Exit(2);
	}
}

static void map_shared(void)
{
	int fd = open(options.shared, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("open the shared counters");
	told = mmap(NULL, MAX_SOCKETS * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (told == MAP_FAILED)
		fail("map the shared counters");
	close(fd);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	if (strcmp(mode, "keys") == 0)
		return print_keys();
	read_options(argc, argv);
	if (options.shared != NULL)
		map_shared();
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1UL);
	void *(*work)(void *) = strcmp(mode, "pub") == 0 ? publisher : strcmp(mode, "sub") == 0 ? subscriber : storm;
	int threads = work == storm ? 1 : options.count;
	for (int i = 0; i < threads; i++) {
		peers[i].index = options.first + i;
		if (work == subscriber) {
			peers[i].histogram = calloc(BUCKETS, sizeof *peers[i].histogram);
			if (peers[i].histogram == NULL)
				fail("allocate");
		}
		if (pthread_create(&peers[i].thread, NULL, work, &peers[i]) != 0)
			fail("start a thread");
	}
	obey();
	_Exit(0);
}
