/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's insides, for client.c, session.c, reply.c and result.c only.
 *
 * One mutex guards everything below.  Application threads and nng's threads
 * change the state under it and then call session_pump(), which sends what is
 * now due; no nng call that may call back is made with the mutex held.
 */
#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include <nng/nng.h>

#include "dial.h"
#include "jobs.h"
#include "latentd/client.h"
#include "message.h"
#include "proof.h"
#include "reason.h"
#include "seen.h"

/* Submits that may be out unanswered at the same time. */
#define SUBMIT_WINDOW 8u
/* COLLECTs that may be out unanswered at the same time. */
#define COLLECT_WINDOW 4u
/* Results fetched ahead of latentd_collect(). */
#define READY_MAX_N 4u
#define READY_MAX_BYTES (64u << 20)
/* How long one COLLECT waits; less than REQ's resend time. */
#define COLLECT_WAIT_MS 20000u
/* The same while the client closes. */
#define CLOSING_WAIT_MS 200u

enum channel_name {
	CHANNEL_HELLO = 0, /* at the end also the last acknowledgements */
	CHANNEL_CANCEL,
	CHANNEL_QUESTION,
	CHANNEL_COLLECT,
	CHANNEL_SUBMIT = CHANNEL_COLLECT + COLLECT_WINDOW,
	CHANNELS = CHANNEL_SUBMIT + SUBMIT_WINDOW
};

/* One REQ context: one request and its reply at a time. */
struct channel {
	struct latentd_client *client;
	nng_ctx ctx;
	nng_aio *aio;
	bool open;
	bool busy;
	bool receiving; /* belongs to the callback while busy */
	enum message_type request;
	struct job *job; /* of a SUBMIT */
	uint64_t ticket; /* of a CANCEL; the number of a question */
	uint64_t wait_ms; /* COLLECT: how long the daemon may keep it */
	uint64_t started_at; /* serial when the request was made */
	bool withdrawn; /* the answer is not awaited any more */
	bool abort_due; /* and nng is still to be told */
};

struct timer {
	struct latentd_client *client;
	nng_aio *aio;
	bool armed; /* what it holds back is held back */
	bool running; /* nng has it */
	bool aborted; /* it ends early */
	uint64_t until_ms; /* on due_now_ms()'s clock */
};

struct ack {
	uint64_t tag;
	const struct channel *on; /* the COLLECT that carries it; or NULL */
};

/*
 * What a call of ask.c wants to know, one call at a time.  A call that gives up
 * leaves its channel busy; the reply's number tells that it is not for the
 * next one.
 */
struct question {
	bool taken; /* a thread is in ask() */
	bool wanted; /* to be sent */
	bool answered;
	uint64_t number;
	enum message_type type;
	const void *in; /* the message, while it is wanted */
	/* The answer. */
	struct reason why;
	char *report; /* of REPORT */
	struct message_done done;
};

TAILQ_HEAD(result_list, latentd_result);

struct latentd_client {
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* on the monotonic clock */
	uint32_t refs; /* the application's, and one per result it holds */

	/* Fixed after latentd_client_open(). */
	char url[LATENTD_MAX_URL_BYTES + 1];
	char producer[LATENTD_MAX_NAME_BYTES + 1];
	char secret[LATENTD_MAX_SECRET_BYTES];
	size_t secret_bytes;
	uint8_t token[PROOF_BYTES]; /* sent in its place */
	char software[LATENTD_MAX_NAME_BYTES + 1];
	bool anonymous;
	size_t max_jobs;
	uint64_t max_bytes;
	nng_socket socket;
	bool socket_open;
	struct dial dial;
	struct channel channels[CHANNELS];
	struct timer busy_timer; /* holds SUBMIT back */
	struct timer collect_timer; /* holds COLLECT back after an error */
	struct timer due_timer; /* runs to the next deadline */
	struct timer hello_timer; /* holds HELLO back after a refusal */
	struct timer missing_timer; /* gives results time that are coming */
	int fd;

	bool closing; /* latentd_client_close() waits for the last replies */
	bool closed; /* nothing is sent any more */
	bool pumping; /* a thread is in session_pump() */
	size_t receivers; /* threads in nng_ctx_recv() */
	bool disconnected; /* session_close() is through */
	uint64_t serial; /* counts requests and acceptances */

	int pipe_id; /* of the connection; 0: none */
	bool welcome; /* HELLO was answered */
	bool hello_wanted;
	struct reason hello_why;
	struct {
		bool wanted; /* by the daemon, with the next HELLO */
		uint64_t instance;
		uint8_t nonce[PROOF_NONCE_BYTES];
	} asked;
	struct {
		uint64_t instance;
		uint8_t nonce[PROOF_NONCE_BYTES];
		uint8_t salt[PROOF_NONCE_BYTES];
		uint8_t proof[PROOF_BYTES];
	} shown; /* by the latest HELLO with a proof */
	bool proving; /* the latest HELLO had one */
	bool proved; /* and was welcomed */
	unsigned proofs_n; /* asked for since the latest WELCOME */
	uint64_t instance; /* of the daemon; 0: not yet known */
	uint64_t max_body_bytes; /* 0: not yet known */
	uint64_t wait_ms; /* of a COLLECT */

	struct jobs jobs;
	uint64_t tickets; /* given so far */
	size_t reserved_n; /* room taken by submits in the making */
	uint64_t reserved_bytes;
	size_t window;
	uint64_t refused_until_ms; /* a busy daemon is not asked before; or 0 */
	char refused_with[LATENTD_MAX_NAME_BYTES + 1]; /* its reason */

	bool collecting; /* the application has shown interest in results */
	size_t accept_waiters; /* threads waiting for an acceptance */
	size_t collectors; /* threads waiting in latentd_collect() */
	bool hungry; /* latentd_collect() found nothing; one may poll now */
	size_t runners; /* threads waiting in latentd_run() */
	struct reason collect_why; /* why COLLECT is refused; OK: it is not */
	bool collect_told; /* latentd_collect() has returned that */
	bool watched; /* the application has ${fd} */
	bool signalled; /* fd is readable */
	struct result_list ready;
	size_t ready_n;
	size_t ready_own_n; /* of these: with a ticket */
	uint64_t ready_bytes;
	uint64_t large_bytes; /* as the next result may be; 0: not known */
	uint64_t missing_before; /* jobs accepted until this serial; or 0 */
	struct result_list held; /* given to the application */
	struct seen seen;
	struct ack *acks;
	size_t acks_n;
	size_t acks_idle_n; /* of these: that no COLLECT carries */
	size_t acks_room;

	struct question question;
};

/* How long latentd_client_close() waits at most; tests prolong it. */
extern int client_close_ms;

/* client_reason(): the calling thread's latest error; client.c. */
struct reason *client_reason(void);

/*
 * client_deadline(timeout_ms) / client_wait(client, deadline):
 * Wait with the mutex held for a change until the deadline (tv_sec -1: for
 * ever); false when it has passed.
 */
struct timespec client_deadline(int64_t timeout_ms);
bool client_wait(struct latentd_client *client, const struct timespec *at);

/* client_unref(client): one owner less; the last one frees.  Not locked. */
void client_unref(struct latentd_client *client);

#endif
