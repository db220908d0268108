/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What transfer.c (requests), transfer_judge.c (what they came to) and
 * transfer_watch.c (how long their phases take) share, and nobody else includes.
 */
#ifndef DAEMON_TRANSFER_PRIVATE_H
#define DAEMON_TRANSFER_PRIVATE_H

#include <curl/curl.h>

#include "endpoint.h"
#include "transfer.h"

#define HEADER_VALUE_BYTES 256u
#define IDLE_HANDLES_MAX 32u

struct transfer;
TAILQ_HEAD(transfer_list, transfer);

struct transfers {
	struct curl_uv *curl;
	uint64_t instance; /* with a spooled job's id, one of a kind */
	uint64_t run; /* the same for other jobs, whose ids come again */
	void (*on_done)(struct attempt *, void *);
	void *arg;
	CURL *idle[IDLE_HANDLES_MAX];
	size_t idle_n;
	struct transfer_list running;
	uv_timer_t watch; /* transfer_watch.c's */
};

struct transfer {
	struct transfers *ts;
	TAILQ_ENTRY(transfer) running;
	struct attempt *attempt;
	curl_off_t bytes; /* sent and received so far */
	uint64_t byte_ns; /* when that last grew */
	CURL *easy;
	struct curl_slist *headers;
	struct buffer *reply; /* NULL: nothing came so far */
	uint64_t max_bytes; /* of the reply; with it, like the next */
	bool refused; /* the status is not 200: it is an error page */
	bool too_large; /* more came than can be right */
	bool no_memory;
	char content_type[HEADER_VALUE_BYTES];
	char shape[HEADER_VALUE_BYTES];
	char dtype[HEADER_VALUE_BYTES];
	char url[LATENTD_MAX_URL_BYTES + REMOTE_QUERY_BYTES];
	char error[CURL_ERROR_SIZE];
};

/*
 * transfer_judge(t, code, verdict): ${t} has ended with ${code}.  When the
 * verdict is OK, the reply belongs to the attempt.
 */
void transfer_judge(struct transfer *t, CURLcode code, struct verdict *verdict);

/* transfer_phase(t): where it is; CONNECT and UPLOAD are told apart when the
 * first byte is sent. */
enum phase transfer_phase(const struct transfer *t);

/*
 * transfer_watch(ts): a request began; see that no phase of any takes longer
 * than its endpoint's times.
 * transfer_end(t): ${t} has ended with its verdict; pass its attempt on.
 */
void transfer_watch(struct transfers *ts);
void transfer_end(struct transfer *t);

#endif
