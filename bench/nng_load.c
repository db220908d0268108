/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of nng: for each job one request and one reply, as large as a job's
 * latent and result, and nothing else, with REQ and REP and a context for each
 * in flight.
 *
 *     bench-nng serve REPLY_BYTES URL...
 *     bench-nng load URL BODY_FILE REPLY_BYTES JOBS IN_FLIGHT
 *
 * The one answers from memory until it is ended, the other is a load generator.
 * A reply must have the length that is expected; anything else ends the program.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "tally.h"
#include "tool.h"

#define IN_FLIGHT_MAX 256
#define MESSAGE_BYTES_MAX (64u << 20)

struct load {
	pthread_mutex_t mutex;
	pthread_cond_t done;
	void *body;
	size_t body_bytes, reply_bytes, jobs_n, sent_n, done_n;
	uint64_t *took_ns;
};

/* One request at a time, on either side. */
struct exchange {
	nng_ctx ctx;
	nng_aio *aio;
	struct load *load;
	uint64_t start_ns;
	bool halfway; /* the request was received, or sent */
};

static struct exchange exchanges[IN_FLIGHT_MAX];
static size_t exchanges_n;

static void
check(int rv, const char *what)
{
	if (rv != 0)
		tool_fail(what, nng_strerror(rv));
}

static nng_msg *
message(const void *data, size_t bytes)
{
	nng_msg *msg;

	check(nng_msg_alloc(&msg, bytes), "nng_msg_alloc");
	memcpy(nng_msg_body(msg), data, bytes);
	return msg;
}

static void
open_all(nng_socket socket, size_t n, struct load *l, void (*on)(void *))
{
	check(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, MESSAGE_BYTES_MAX),
	    "nng_socket_set_size");
	for (exchanges_n = 0; exchanges_n < n; exchanges_n++) {
		struct exchange *e = &exchanges[exchanges_n];

		e->load = l;
		check(nng_ctx_open(&e->ctx, socket), "nng_ctx_open");
		check(nng_aio_alloc(&e->aio, on, e), "nng_aio_alloc");
	}
}

static void
on_served(void *arg)
{
	struct exchange *e = arg;

	check(nng_aio_result(e->aio), "serve");
	e->halfway = !e->halfway;
	if (!e->halfway) {
		nng_ctx_recv(e->ctx, e->aio);
		return;
	}
	nng_msg_free(nng_aio_get_msg(e->aio));
	nng_aio_set_msg(e->aio, message(e->load->body, e->load->body_bytes));
	nng_ctx_send(e->ctx, e->aio);
}

static noreturn void
serve(char **argv)
{
	struct load l = {.body_bytes = strtoul(argv[0], NULL, 10)};
	nng_socket socket;

	l.body = calloc(1, l.body_bytes);
	tool_check(l.body != NULL && l.body_bytes > 0, "REPLY_BYTES");
	check(nng_rep0_open(&socket), "nng_rep0_open");
	open_all(socket, IN_FLIGHT_MAX, &l, on_served);
	for (size_t i = 0; i < exchanges_n; i++)
		nng_ctx_recv(exchanges[i].ctx, exchanges[i].aio);
	for (argv++; *argv != NULL; argv++)
		check(nng_listen(socket, *argv, NULL, 0), *argv);
	for (;;)
		pause();
}

static void
begin(struct exchange *e)
{
	e->start_ns = tally_now_ns();
	e->halfway = false;
	nng_aio_set_msg(e->aio, message(e->load->body, e->load->body_bytes));
	nng_ctx_send(e->ctx, e->aio);
}

static void
on_loaded(void *arg)
{
	struct exchange *e = arg;
	struct load *l = e->load;
	bool more;

	check(nng_aio_result(e->aio), "load");
	e->halfway = !e->halfway;
	if (e->halfway) {
		nng_ctx_recv(e->ctx, e->aio);
		return;
	}
	tool_check(nng_msg_len(nng_aio_get_msg(e->aio)) == l->reply_bytes,
	    "a reply of another length");
	nng_msg_free(nng_aio_get_msg(e->aio));
	pthread_mutex_lock(&l->mutex);
	l->took_ns[l->done_n++] = tally_now_ns() - e->start_ns;
	more = l->sent_n < l->jobs_n;
	l->sent_n += more;
	if (l->done_n == l->jobs_n)
		pthread_cond_signal(&l->done);
	pthread_mutex_unlock(&l->mutex);
	if (more)
		begin(e);
}

static int
load(char **argv)
{
	struct load l = {.mutex = PTHREAD_MUTEX_INITIALIZER,
	    .done = PTHREAD_COND_INITIALIZER,
	    .body = tool_read(argv[1], &l.body_bytes),
	    .reply_bytes = strtoul(argv[2], NULL, 10),
	    .jobs_n = strtoul(argv[3], NULL, 10)};
	size_t in_flight = strtoul(argv[4], NULL, 10);
	struct tally *tally;
	nng_socket socket;

	tool_check(in_flight > 0 && in_flight <= IN_FLIGHT_MAX &&
		l.jobs_n >= in_flight,
	    "IN_FLIGHT must be at most JOBS, and 256");
	check(nng_req0_open(&socket), "nng_req0_open");
	open_all(socket, in_flight, &l, on_loaded);
	check(nng_dial(socket, argv[0], NULL, 0), argv[0]);
	tally = tally_create(l.jobs_n);
	l.took_ns = tally_took_ns(tally);
	l.sent_n = in_flight;
	tally_begin(tally);
	for (size_t i = 0; i < in_flight; i++)
		begin(&exchanges[i]);
	pthread_mutex_lock(&l.mutex);
	while (l.done_n < l.jobs_n)
		pthread_cond_wait(&l.done, &l.mutex);
	pthread_mutex_unlock(&l.mutex);
	tally_report(tally, nng_version());
	/* Not closed: nng_ctx_recv() may still be returning on one of nng's
	 * threads, and nng 1.5.2 frees what it uses. */
	free(l.body);
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "serve") == 0)
		serve(argv + 2);
	if (argc == 7 && strcmp(argv[1], "load") == 0)
		return load(argv + 2);
	fprintf(stderr,
	    "Usage: bench-nng serve REPLY_BYTES URL...\n"
	    "       bench-nng load URL BODY_FILE REPLY_BYTES JOBS IN_FLIGHT\n");
	return 2;
}
