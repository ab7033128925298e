/*
 * The price of libsodium's crypto_box, which libzmq uses for CURVE: opening and sealing, with keys agreed already,
 * what a broker opens and seals for one message. Prints the CPU nanoseconds per message, one line for each argument:
 *
 *	boxbench MILLISECONDS SIZE[,SIZE...]...    each argument is the sizes of a message's frames
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FRAMES = 16 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static unsigned char shared[crypto_box_BEFORENMBYTES], nonce[crypto_box_NONCEBYTES];

/* message seals and opens each frame of one. */
static void message(unsigned char **plain, unsigned char **box, const size_t *sizes, int frames)
{
	for (int f = 0; f < frames; f++) {
		nonce[0]++;
		if (crypto_box_afternm(box[f], plain[f], sizes[f], nonce, shared) != 0 ||
		    crypto_box_open_afternm(plain[f], box[f], sizes[f], nonce, shared) != 0)
			exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3 || sodium_init() < 0) {
		fprintf(stderr, "usage: %s MILLISECONDS SIZE[,SIZE...]...\n", argv[0]);
		return 2;
	}
	double enough = atof(argv[1]) * 1e6;
	unsigned char public_key[crypto_box_PUBLICKEYBYTES], secret_key[crypto_box_SECRETKEYBYTES];
	crypto_box_keypair(public_key, secret_key);
	if (crypto_box_beforenm(shared, public_key, secret_key) != 0)
		return 1;
	for (int a = 2; a < argc; a++) {
		size_t sizes[MAX_FRAMES];
		unsigned char *plain[MAX_FRAMES], *box[MAX_FRAMES];
		int frames = 0;
		for (char *at = argv[a]; *at != '\0' && frames < MAX_FRAMES; frames++) {
			/* one byte of flags travels inside of each box; the zero padding is libzmq's, too */
			sizes[frames] = strtoul(at, &at, 10) + 1 + crypto_box_ZEROBYTES;
			plain[frames] = calloc(1, sizes[frames]);
			box[frames] = calloc(1, sizes[frames]);
			if (plain[frames] == NULL || box[frames] == NULL)
				return 1;
			at += *at == ',';
		}
		/* the clock is dear: it is asked once per 64 small messages */
		int burst = sizes[frames - 1] < 65536 ? 64 : 1;
		/* rounds of a fixed length, of which the best counts: the others were disturbed */
		double best = 0;
		for (int round = 0; round < 5; round++) {
			long n = 0;
			double from = now(), to;
			do {
				for (int i = 0; i < burst; i++)
					message(plain, box, sizes, frames);
				n += burst;
				to = now();
			} while (to - from < enough / 5);
			double each = (to - from) / (double)n;
			if (round == 0 || each < best)
				best = each;
		}
		printf("%.1f\n", best);
		for (int f = 0; f < frames; f++) {
			free(plain[f]);
			free(box[f]);
		}
	}
	return 0;
}
