/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a client, and what its other parts share. */
#include "latentd/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "acks.h"
#include "core.h"
#include "deliver.h"
#include "identity.h"
#include "result.h"
#include "session.h"
#include "submit.h"
#include "unreachable.h"

#define DEFAULT_URL "ipc:///run/latentd/latentd.sock"
#define DEFAULT_CONNECT_MS 5000u
#define DEFAULT_JOBS 1024u
#define DEFAULT_BYTES (1ull << 30)
#define MAX_JOBS 1000000u

int client_close_ms = 1000;

static _Thread_local struct reason latest;

struct reason *
client_reason(void)
{
	return &latest;
}

const char *
latentd_client_error(const struct latentd_client *client)
{
	(void)client;
	return latest.text;
}

struct timespec
client_deadline(int64_t timeout_ms)
{
	struct timespec at = {-1, 0};

	if (timeout_ms < 0)
		return at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(timeout_ms / 1000);
	at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

bool
client_wait(struct latentd_client *c, const struct timespec *at)
{
	if (at->tv_sec < 0)
		return pthread_cond_wait(&c->changed, &c->mutex) == 0;
	return pthread_cond_timedwait(&c->changed, &c->mutex, at) == 0;
}

void
client_unref(struct latentd_client *c)
{
	uint32_t left;

	pthread_mutex_lock(&c->mutex);
	left = --c->refs;
	pthread_mutex_unlock(&c->mutex);
	if (left > 0)
		return;
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->mutex);
	identity_wipe(c);
	free(c);
}

static enum latentd_err
set_url(struct latentd_client *c, const char *url, struct reason *why)
{
	static const char *const schemes[] = {
	    "ipc://", "tcp://", "tls+tcp://", "inproc://"};

	if (url == NULL)
		url = getenv("LATENTD_URL");
	if (url == NULL || url[0] == '\0')
		url = DEFAULT_URL;
	if (strlen(url) > LATENTD_MAX_URL_BYTES)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the URL has %zu bytes; at most %u are allowed",
		    strlen(url), LATENTD_MAX_URL_BYTES);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0) {
			strcpy(c->url, url);
			return LATENTD_OK;
		}
	}
	return reason_set(why, LATENTD_ERR_INVALID,
	    "cannot use the URL %s; use ipc:///PATH, tcp://HOST:PORT or "
	    "tls+tcp://HOST:PORT",
	    url);
}

static enum latentd_err
set_producer(struct latentd_client *c, const char *name, struct reason *why)
{
	uint64_t random;

	c->anonymous = name == NULL;
	if (name != NULL) {
		if (!submit_is_name(name))
			return reason_set(why, LATENTD_ERR_INVALID,
			    "producer \"%s\" is not a name: use 1 to %u of "
			    "A-Z a-z 0-9 . _ -",
			    name, LATENTD_MAX_NAME_BYTES);
		strcpy(c->producer, name);
		return LATENTD_OK;
	}
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return reason_set(
		    why, LATENTD_ERR_IO, "getrandom: %s", strerror(errno));
	snprintf(c->producer, sizeof(c->producer), "anon-%016" PRIx64, random);
	return LATENTD_OK;
}

static enum latentd_err
set_options(struct latentd_client *c, const struct latentd_client_options *o,
    struct reason *why)
{
	const char *software = o->software != NULL ? o->software : "";

	if (set_url(c, o->url, why) != LATENTD_OK ||
	    set_producer(c, o->producer, why) != LATENTD_OK ||
	    identity_set(c, o, why) != LATENTD_OK)
		return why->err;
	if (strlen(software) > LATENTD_MAX_NAME_BYTES)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "software has %zu bytes; at most %u are allowed",
		    strlen(software), LATENTD_MAX_NAME_BYTES);
	if (o->max_jobs > MAX_JOBS)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "max_jobs is %u; at most %u are allowed", o->max_jobs,
		    MAX_JOBS);
	strcpy(c->software, software);
	c->max_jobs = o->max_jobs > 0 ? o->max_jobs : DEFAULT_JOBS;
	c->max_bytes = o->max_bytes > 0 ? o->max_bytes : DEFAULT_BYTES;
	return LATENTD_OK;
}

static struct latentd_client *
create(struct reason *why)
{
	struct latentd_client *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (c == NULL) {
		reason_set(why, LATENTD_ERR_MEMORY, "no memory for a client");
		return NULL;
	}
	c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->fd < 0) {
		reason_set(why, LATENTD_ERR_IO, "eventfd: %s", strerror(errno));
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	c->refs = 1;
	c->window = SUBMIT_WINDOW;
	jobs_init(&c->jobs);
	seen_init(&c->seen);
	TAILQ_INIT(&c->ready);
	TAILQ_INIT(&c->held);
	return c;
}

static void *
disconnect(void *arg)
{
	struct latentd_client *c = arg;
	struct latentd_result *r;

	session_close(c);
	pthread_mutex_lock(&c->mutex);
	while ((r = TAILQ_FIRST(&c->ready)) != NULL) {
		TAILQ_REMOVE(&c->ready, r, entry);
		result_destroy(r);
	}
	jobs_fini(&c->jobs);
	seen_fini(&c->seen);
	free(c->acks);
	free(c->question.report);
	close(c->fd);
	c->disconnected = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
	client_unref(c);
	return NULL;
}

/*
 * nng 1.5.2 may never return from closing a socket on which a message is just
 * arriving.  The application must not hang for that: a thread of its own
 * closes, and after a while it is left alone with what it holds.
 */
static void
destroy(struct latentd_client *c)
{
	struct timespec at = client_deadline(client_close_ms);
	bool threaded, through;
	pthread_t thread;

	pthread_mutex_lock(&c->mutex);
	c->refs++;
	threaded = pthread_create(&thread, NULL, disconnect, c) == 0;
	while (threaded && !c->disconnected) {
		if (!client_wait(c, &at))
			break;
	}
	through = c->disconnected;
	pthread_mutex_unlock(&c->mutex);
	if (!threaded)
		disconnect(c);
	else if (through)
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
	client_unref(c);
}

static enum latentd_err
greet(struct latentd_client *c, uint32_t timeout_ms, struct reason *why)
{
	struct timespec at =
	    client_deadline(timeout_ms > 0 ? timeout_ms : DEFAULT_CONNECT_MS);
	enum latentd_err err = LATENTD_OK;

	pthread_mutex_lock(&c->mutex);
	while (!c->welcome && c->hello_why.err == LATENTD_OK) {
		if (!client_wait(c, &at))
			break;
	}
	if (!c->welcome && c->hello_why.err != LATENTD_OK)
		err =
		    reason_set(why, c->hello_why.err, "%s", c->hello_why.text);
	else if (!c->welcome)
		err = unreachable_say(c->url, why);
	pthread_mutex_unlock(&c->mutex);
	return err;
}

/* Nothing is sent after this; the thread that still sends has left. */
static void
seal(struct latentd_client *c)
{
	static const struct timespec never = {-1, 0};

	c->closing = true;
	c->closed = true;
	while (c->pumping || c->receivers > 0)
		client_wait(c, &never);
}

enum latentd_err
latentd_client_open(struct latentd_client **client,
    const struct latentd_client_options *options)
{
	static const struct latentd_client_options defaults;
	struct latentd_client *c = create(&latest);

	*client = NULL;
	if (options == NULL)
		options = &defaults;
	if (c == NULL)
		return latest.err;
	if (set_options(c, options, &latest) != LATENTD_OK ||
	    session_open(c, options->tls, &latest) != LATENTD_OK ||
	    greet(c, options->connect_timeout_ms, &latest) != LATENTD_OK) {
		pthread_mutex_lock(&c->mutex);
		seal(c);
		pthread_mutex_unlock(&c->mutex);
		destroy(c);
		return latest.err;
	}
	*client = c;
	return LATENTD_OK;
}

/* Nobody can collect under this name any more: leave nothing behind. */
static void
abandon(struct latentd_client *c)
{
	struct latentd_result *r;
	struct job *job, *next;

	while ((r = TAILQ_FIRST(&c->ready)) != NULL)
		deliver_drop(c, r);
	TAILQ_FOREACH(r, &c->held, entry)
	{
		if (r->tagged && !r->acked)
			acks_add(c, r->tag, r->instance);
	}
	HASH_ITER(by_ticket, c->jobs.tickets, job, next)
	{
		job_hide(&c->jobs, job, NULL);
		job_cancel(&c->jobs, job);
		if (job->stage == STAGE_WAITING)
			job_finish(&c->jobs, job);
	}
	c->collecting = true;
}

/*
 * A reply that will be here soon.  nng 1.5.2 never returns from nng_close()
 * when it has read the length of a message and not yet the message (its ipc
 * and tcp transports' recv_cb asks a stopped aio for the rest), so a
 * connection is closed only when nothing is about to arrive.
 */
static bool
expects_reply(const struct latentd_client *c)
{
	for (size_t i = 0; i < CHANNELS; i++) {
		const struct channel *ch = &c->channels[i];

		if (ch->busy && ch->wait_ms <= CLOSING_WAIT_MS)
			return true;
	}
	return false;
}

static bool
is_settled(const struct latentd_client *c)
{
	if (c->pipe_id == 0)
		return true;
	if (expects_reply(c))
		return false;
	if (c->acks_n > 0 || c->jobs.stage_n[STAGE_WAITING] > 0 ||
	    c->jobs.stage_n[STAGE_SENDING] > 0)
		return false;
	return !c->anonymous || c->jobs.n == 0;
}

void
latentd_client_close(struct latentd_client *c)
{
	struct timespec at = client_deadline(client_close_ms);

	if (c == NULL)
		return;
	pthread_mutex_lock(&c->mutex);
	c->closing = true;
	/* What rides on a COLLECT that waits for long is said once more. */
	for (size_t i = CHANNEL_COLLECT; i < CHANNEL_SUBMIT; i++) {
		if (c->channels[i].busy &&
		    c->channels[i].wait_ms > CLOSING_WAIT_MS)
			acks_lost(c, &c->channels[i]);
	}
	if (c->anonymous)
		abandon(c);
	session_pump(c);
	while (!is_settled(c)) {
		if (!client_wait(c, &at))
			break;
	}
	seal(c);
	pthread_mutex_unlock(&c->mutex);
	destroy(c);
}

const char *
latentd_client_producer(const struct latentd_client *client)
{
	return client->producer;
}

int
latentd_client_fd(struct latentd_client *c)
{
	pthread_mutex_lock(&c->mutex);
	c->hungry = c->hungry || !c->collecting;
	c->collecting = true;
	c->watched = true;
	deliver_signal(c);
	session_pump(c);
	pthread_mutex_unlock(&c->mutex);
	return c->fd;
}

size_t
latentd_client_pending(struct latentd_client *c)
{
	size_t n;

	pthread_mutex_lock(&c->mutex);
	n = c->jobs.n - c->jobs.hidden_n + c->ready_own_n;
	pthread_mutex_unlock(&c->mutex);
	return n;
}
