/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sides of bench/spool.py.
 *
 *   bench-spool bare DIR BYTES JOBS BATCH
 *     commits JOBS values of BYTES to an LMDB environment in DIR, BATCH in each
 *     transaction, and nothing else
 *   bench-spool push URL BYTES JOBS PRODUCERS
 *     that many producers together have JOBS latents of BYTES accepted
 *
 * Either prints the seconds that it took.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lmdb.h>

#include "latentd/client.h"
#include "tally.h"
#include "tool.h"

#define MAP_BYTES ((size_t)16 << 30)
#define PRODUCERS_MAX 64u

static double
now_s(void)
{
	return (double)tally_now_ns() / 1e9;
}

/* Bytes that do not compress, and differ by job. */
static void
fill(uint8_t *at, size_t bytes, uint64_t seed)
{
	uint64_t v = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		v ^= v << 13;
		v ^= v >> 7;
		v ^= v << 17;
		memcpy(at + i, &v, 8);
	}
}

/* ---- LMDB alone ---- */

static double
bare(const char *dir, size_t bytes, uint64_t jobs_n, uint64_t batch_n)
{
	uint8_t *payload = malloc(bytes);
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	double start_s;

	tool_check(payload != NULL, "no memory");
	fill(payload, bytes, 1);
	tool_check(mdb_env_create(&env) == 0 &&
		mdb_env_set_mapsize(env, MAP_BYTES) == 0 &&
		mdb_env_open(env, dir, 0, 0600) == 0,
	    "cannot open an environment");
	tool_check(mdb_txn_begin(env, NULL, 0, &txn) == 0 &&
		mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi) == 0 &&
		mdb_txn_commit(txn) == 0,
	    "cannot open a table");
	start_s = now_s();
	for (uint64_t i = 0; i < jobs_n;) {
		tool_check(mdb_txn_begin(env, NULL, 0, &txn) == 0, "begin");
		for (uint64_t k = 0; k < batch_n && i < jobs_n; k++, i++) {
			MDB_val key = {sizeof(i), &i};
			MDB_val data = {bytes, payload};

			tool_check(
			    mdb_put(txn, dbi, &key, &data, 0) == 0, "put");
		}
		tool_check(mdb_txn_commit(txn) == 0, "commit");
	}
	start_s = now_s() - start_s;
	mdb_env_close(env);
	free(payload);
	return start_s;
}

/* ---- the daemon ---- */

struct pusher {
	pthread_t thread;
	pthread_barrier_t *begin;
	const char *url;
	unsigned number;
	size_t bytes;
	uint64_t jobs_n;
};

static void *
push(void *arg)
{
	struct pusher *p = arg;
	uint64_t *tickets = calloc(p->jobs_n, sizeof(*tickets));
	uint8_t *payload = malloc(p->bytes);
	struct latentd_client_options options = {.url = p->url};
	struct latentd_request request = {.task = LATENTD_DECODE,
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, 128, p->bytes / 1024}},
	    .output = LATENTD_OUT_JPG,
	    .data = payload,
	    .data_bytes = p->bytes};
	struct latentd_client *client;
	char name[32];

	snprintf(name, sizeof(name), "bench-%d-%u", (int)time(NULL), p->number);
	options.producer = name;
	tool_check(tickets != NULL && payload != NULL, "no memory");
	fill(payload, p->bytes, p->number);
	tool_check(latentd_client_open(&client, &options) == LATENTD_OK,
	    "cannot connect");
	pthread_barrier_wait(p->begin);
	for (uint64_t i = 0; i < p->jobs_n; i++)
		tool_check(latentd_submit(client, &request, -1, &tickets[i]) ==
			LATENTD_OK,
		    "cannot submit");
	for (uint64_t i = 0; i < p->jobs_n; i++)
		tool_check(
		    latentd_wait_accepted(client, tickets[i], -1) == LATENTD_OK,
		    "not accepted");
	/* The time ends here, not with the connections. */
	pthread_barrier_wait(p->begin);
	latentd_client_close(client);
	free(tickets);
	free(payload);
	return NULL;
}

static double
push_all(const char *url, size_t bytes, uint64_t jobs_n, unsigned producers_n)
{
	struct pusher pushers[PRODUCERS_MAX];
	pthread_barrier_t begin;
	double start_s;

	tool_check(
	    producers_n > 0 && producers_n <= PRODUCERS_MAX, "producers");
	pthread_barrier_init(&begin, NULL, producers_n + 1);
	for (unsigned i = 0; i < producers_n; i++) {
		pushers[i] = (struct pusher){.begin = &begin,
		    .url = url,
		    .number = i,
		    .bytes = bytes,
		    .jobs_n = jobs_n / producers_n};
		tool_check(pthread_create(&pushers[i].thread, NULL, push,
			       &pushers[i]) == 0,
		    "cannot create a thread");
	}
	pthread_barrier_wait(&begin);
	start_s = now_s();
	pthread_barrier_wait(&begin);
	start_s = now_s() - start_s;
	for (unsigned i = 0; i < producers_n; i++)
		pthread_join(pushers[i].thread, NULL);
	return start_s;
}

int
main(int argc, char **argv)
{
	double took_s;
	size_t bytes;
	uint64_t n, m;

	tool_check(
	    argc == 6, "usage: bench-spool bare|push WHERE BYTES JOBS N");
	bytes = strtoul(argv[3], NULL, 10);
	n = strtoull(argv[4], NULL, 10);
	m = strtoull(argv[5], NULL, 10);
	tool_check(bytes >= 1024 && bytes % 1024 == 0 && n > 0 && m > 0,
	    "BYTES must be a multiple of 1024; JOBS and N at least 1");
	if (strcmp(argv[1], "bare") == 0)
		took_s = bare(argv[2], bytes, n, m);
	else
		took_s = push_all(argv[2], bytes, n, (unsigned)m);
	printf("%.6f\n", took_s);
	return 0;
}
