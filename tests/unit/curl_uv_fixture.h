/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers to a server on the same loop that answers by path: /ok/N with N
 * bytes, /bye/N and /reset/N likewise and ends the connection with a FIN or a
 * reset, /hold never, /cut with less than it promised, /close not at all.
 */
#ifndef UNIT_CURL_UV_FIXTURE_H
#define UNIT_CURL_UV_FIXTURE_H

#include "base/curl_uv.h"
#include "loop_fixture.h"

struct transfer {
	CURL *easy; /* made by fixture_start() if it is NULL */
	const char *host; /* NULL: 127.0.0.1 */
	size_t got_bytes;
	size_t done_n;
	CURLcode code;
	void (*then)(struct transfer *t);
};

/* One per process: Criterion gives every test its own. */
extern struct curl_fixture {
	struct fixture_loop loop;
	uv_tcp_t server; /* who unrefs it unrefs its connections */
	unsigned port;
	size_t accepted_n; /* connections */
	size_t held_n; /* requests to /hold */
	struct curl_uv *cu;
	size_t done_n; /* of all transfers */
} fix;

/* fixture_open(max_connections): the loop, its server and fix.cu. */
void fixture_open(unsigned max_connections);

/* fixture_close(t, n): clean up ${n} handles and close all; fails when a handle
 * of the loop is left. */
void fixture_close(struct transfer *t, size_t n);

/* fixture_start(t, path): run ${t}, with the options it has by then. */
void fixture_start(struct transfer *t, const char *path);

#endif
