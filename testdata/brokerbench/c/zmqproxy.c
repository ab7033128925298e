/*
 * libzmq's own broker, set up as Zeek sets it up in its manager (ZeroMQ-Proxy.cc): a context of its own with two
 * I/O threads, an XSUB and an XPUB socket joined by zmq_proxy_steerable, XPUB_NODROP and XPUB_VERBOSER, everything
 * else as libzmq has it by default (1000 messages per queue). With the server's secret key and the client's public
 * key in the environment both sockets are CURVE servers, and a ZAP handler lets in that one client key.
 *
 *	zmqproxy --xpub tcp://127.0.0.1:5555 --xsub tcp://127.0.0.1:5556
 */
#include <pthread.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <signal.h>

#include "common.h"

enum { IO_THREADS = 2, KEY_BYTES = 32, ZAP_FRAMES = 7 };

struct zap {
	void *socket;
	uint8_t client[KEY_BYTES];
};

static void reply(void *socket, const char *text, int flags)
{
	check(zmq_send(socket, text, strlen(text), flags), "answer a ZAP request");
}

/* zap_handler answers 200 for the one key, and 400 for everything else, for as long as the context lives. */
static void *zap_handler(void *arg)
{
	struct zap *zap = arg;
	for (;;) {
		char frame[ZAP_FRAMES][256];
		size_t size[ZAP_FRAMES] = {0};
		int n = 0, more = 1;
		while (more) {
			char spare[256];
			char *into = n < ZAP_FRAMES ? frame[n] : spare;
			int got = zmq_recv(zap->socket, into, sizeof spare, 0);
			check(got, "read a ZAP request");
			if (n < ZAP_FRAMES)
				size[n] = (size_t)got < sizeof spare ? (size_t)got : sizeof spare;
			n++;
			size_t length = sizeof more;
			check(zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &more, &length), "ask for more frames");
		}
		/* version, request id, domain, address, identity, mechanism, credentials */
		int good = n == ZAP_FRAMES && size[5] == 5 && memcmp(frame[5], "CURVE", 5) == 0 && size[6] == KEY_BYTES &&
			   memcmp(frame[6], zap->client, KEY_BYTES) == 0;
		reply(zap->socket, "1.0", ZMQ_SNDMORE);
		check(zmq_send(zap->socket, frame[1], size[1], ZMQ_SNDMORE), "answer a ZAP request");
		reply(zap->socket, good ? "200" : "400", ZMQ_SNDMORE);
		reply(zap->socket, good ? "OK" : "not this key", ZMQ_SNDMORE);
		reply(zap->socket, "", ZMQ_SNDMORE);
		reply(zap->socket, "", 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *xpub_endpoint = NULL, *xsub_endpoint = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--xpub") == 0)
			xpub_endpoint = argv[i + 1];
		else if (strcmp(argv[i], "--xsub") == 0)
			xsub_endpoint = argv[i + 1];
	}
	if (xpub_endpoint == NULL || xsub_endpoint == NULL) {
		fprintf(stderr, "usage: %s --xpub tcp://HOST:PORT --xsub tcp://HOST:PORT\n", argv[0]);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	void *context = zmq_ctx_new();
	if (context == NULL)
		fail("make a context");
	check(zmq_ctx_set(context, ZMQ_IO_THREADS, IO_THREADS), "set the number of I/O threads");
	void *xsub = zmq_socket(context, ZMQ_XSUB);
	void *xpub = zmq_socket(context, ZMQ_XPUB);
	void *control = zmq_socket(context, ZMQ_REP);
	if (xsub == NULL || xpub == NULL || control == NULL)
		fail("make a socket");
	set_int(xpub, ZMQ_XPUB_NODROP, 1, "set XPUB_NODROP");
	set_int(xpub, ZMQ_XPUB_VERBOSER, 1, "set XPUB_VERBOSER");

	static struct zap zap;
	const char *secret = key("SERVER_SECRETKEY"), *client = key("CLIENT_PUBLICKEY");
	if (secret != NULL && client != NULL) {
		if (zmq_z85_decode(zap.client, client) == NULL)
			fail("read the client's public key");
		zap.socket = zmq_socket(context, ZMQ_REP);
		if (zap.socket == NULL)
			fail("make a socket");
		check(zmq_bind(zap.socket, "inproc://zeromq.zap.01"), "bind the ZAP handler");
		pthread_t thread;
		if (pthread_create(&thread, NULL, zap_handler, &zap) != 0)
			fail("start the ZAP handler");
		void *both[] = {xsub, xpub};
		for (int i = 0; i < 2; i++) {
			set_int(both[i], ZMQ_CURVE_SERVER, 1, "be a CURVE server");
			set_text(both[i], ZMQ_CURVE_SECRETKEY, secret, "set the secret key");
		}
	}
	check(zmq_bind(xpub, xpub_endpoint), "bind the XPUB socket");
	check(zmq_bind(xsub, xsub_endpoint), "bind the XSUB socket");
	check(zmq_bind(control, "inproc://control"), "bind the control socket");
	check(zmq_proxy_steerable(xsub, xpub, NULL, control), "run the proxy");
	return 0;
}
