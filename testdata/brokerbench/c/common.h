/* What the programs of this folder share: keys from Zeek's environment variables, and how they give up. */
#ifndef BROKERBENCH_COMMON_H
#define BROKERBENCH_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define KEY_PREFIX "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"

/* fail ends the process: there is nothing a measurement could do about a call that failed. */
static inline void fail(const char *what)
{
	fprintf(stderr, "cannot %s: %s\n", what, zmq_strerror(zmq_errno()));
	_Exit(1);
}

static inline void check(int result, const char *what)
{
	if (result < 0)
		fail(what);
}

/* key returns one of the four keys, NULL when it is not set. */
static inline const char *key(const char *name)
{
	char variable[128];
	snprintf(variable, sizeof variable, KEY_PREFIX "%s", name);
	const char *value = getenv(variable);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static inline void set_int(void *socket, int option, int value, const char *what)
{
	check(zmq_setsockopt(socket, option, &value, sizeof value), what);
}

static inline void set_text(void *socket, int option, const char *value, const char *what)
{
	check(zmq_setsockopt(socket, option, value, strlen(value)), what);
}

#endif
