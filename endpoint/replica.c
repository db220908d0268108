/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange is one request from its acceptance to its answer.  It waits for
 * its turn (admission), is computed by a uv worker or found in the cache, waits
 * until its service time is over, and is answered and freed.  While a worker
 * computes (computing), the request's body must stay, so a stop waits for the
 * workers; nothing else is waited for.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admission.h"
#include "base/log.h"
#include "cache.h"
#include "compute.h"
#include "replica.h"
#include "reply.h"

struct exchange {
	struct turn turn;
	TAILQ_ENTRY(exchange) link;
	struct replica *replica;
	struct http_request *http;
	struct compute compute;
	struct reply *reply;
	uv_work_t work;
	bool computing;
	bool doomed; /* to be reset as soon as it is not computing */
	struct fate fate;
	char *key; /* the cache key's head */
	size_t key_bytes;
	uint64_t arrived_ns;
	uint64_t granted_ns;
};

TAILQ_HEAD(exchange_list, exchange);

struct replica {
	uv_loop_t *loop;
	struct replica_options options;
	struct admission *admission;
	struct cache *cache; /* NULL: none */
	struct exchange_list exchanges;
	size_t computing_n;
	bool stopping;
	void (*stopped)(void *);
	void *stopped_arg;
};

/* ---- the cache key ---- */

/* Append a part and a NUL, which no part contains. */
static bool
key_add(struct exchange *ex, const char *part)
{
	const size_t bytes = part != NULL ? strlen(part) + 1 : 1;
	char *key = realloc(ex->key, ex->key_bytes + bytes);

	if (key == NULL)
		return false;
	memcpy(key + ex->key_bytes, part != NULL ? part : "", bytes);
	ex->key = key;
	ex->key_bytes += bytes;
	return true;
}

static struct cache_key
key_of(const struct exchange *ex)
{
	return (struct cache_key){
	    ex->key, ex->key_bytes, ex->compute.body, ex->compute.body_bytes};
}

/* ---- answering ---- */

static void
exchange_free(struct exchange *ex)
{
	TAILQ_REMOVE(&ex->replica->exchanges, ex, link);
	reply_drop(ex->reply);
	blob_free(&ex->compute.reply);
	free(ex->key);
	free(ex);
}

static void
exchange_drop(struct exchange *ex)
{
	ex->replica->options.metrics->down_n++;
	http_drop(ex->http);
	exchange_free(ex);
}

static void
exchange_fail(struct exchange *ex, const struct reason *why)
{
	const unsigned status = reply_status(why->err);

	log_debug("%s %s: %u: %s", http_method(ex->http), http_path(ex->http),
	    status, why->text);
	reply_error(
	    ex->http, ex->replica->options.metrics, status, NULL, NULL, why);
	exchange_free(ex);
}

static void
exchange_log(const struct exchange *ex)
{
	const uint64_t now_ns = uv_hrtime();

	log_debug("%s %s: 200: %zu bytes in, %zu out; waited %" PRIu64
		  " us, computed %" PRIu64 " us, held its slot %" PRIu64 " us",
	    http_method(ex->http), http_path(ex->http), ex->compute.body_bytes,
	    ex->reply->body.bytes, (ex->granted_ns - ex->arrived_ns) / 1000,
	    ex->compute.compute_ns / 1000, (now_ns - ex->granted_ns) / 1000);
}

static void
on_released(struct turn *turn, void *arg)
{
	struct exchange *ex = (struct exchange *)turn;

	(void)arg;
	if (ex->doomed) {
		exchange_drop(ex);
		return;
	}
	if (ex->reply == NULL) {
		exchange_fail(ex, &ex->compute.why);
		return;
	}
	exchange_log(ex);
	ex->replica->options.metrics->slow_n += ex->fate.slowdown > 1;
	reply_send(
	    ex->reply, ex->http, ex->replica->options.metrics, &ex->fate);
	exchange_free(ex);
}

/* ---- computing ---- */

static void
on_work(uv_work_t *work)
{
	struct exchange *ex = work->data;

	compute_run(&ex->compute);
}

static void
exchange_take_outcome(struct exchange *ex)
{
	struct replica *replica = ex->replica;
	struct cache_key key;

	replica->options.metrics->compute_ns += ex->compute.compute_ns;
	if (ex->compute.why.err != LATENTD_OK)
		return;
	ex->reply = reply_create(&ex->compute);
	if (ex->reply == NULL) {
		reason_set(&ex->compute.why, LATENTD_ERR_MEMORY,
		    "not enough memory for the reply; try again later");
	} else if (ex->key != NULL && !ex->compute.misfit) {
		key = key_of(ex);
		cache_add(replica->cache, &key, ex->reply);
	}
}

static void
on_work_done(uv_work_t *work, int status)
{
	struct exchange *ex = work->data;
	struct replica *replica = ex->replica;

	assert(status == 0);
	ex->computing = false;
	replica->computing_n--;
	exchange_take_outcome(ex);
	if (!replica->stopping)
		admission_computed(replica->admission, &ex->turn,
		    ex->reply != NULL && !ex->doomed);
	else if (replica->computing_n == 0)
		replica->stopped(replica->stopped_arg);
}

static void
on_granted(struct turn *turn, void *arg)
{
	struct exchange *ex = (struct exchange *)turn;
	struct replica *replica = arg;
	struct metrics *metrics = replica->options.metrics;
	struct cache_key key;

	ex->granted_ns = uv_hrtime();
	if (ex->key != NULL && !ex->compute.misfit) {
		key = key_of(ex);
		ex->reply = cache_find(replica->cache, &key);
		metrics->cache_hits_n += ex->reply != NULL;
		metrics->cache_misses_n += ex->reply == NULL;
	}
	if (ex->reply != NULL) {
		admission_computed(replica->admission, turn, true);
		return;
	}
	ex->work.data = ex;
	ex->computing = true;
	replica->computing_n++;
	uv_queue_work(replica->loop, &ex->work, on_work, on_work_done);
}

/* ---- accepting ---- */

struct param_walk {
	struct exchange *ex;
	enum latentd_err err;
	struct reason why;
};

static bool
on_param(const char *key, const char *value, void *arg)
{
	struct param_walk *walk = arg;
	struct exchange *ex = walk->ex;

	walk->err =
	    remote_request_param(&ex->compute.req, key, value, &walk->why);
	if (walk->err == LATENTD_OK && ex->replica->cache != NULL &&
	    !(key_add(ex, key) && key_add(ex, value)))
		walk->err = reason_set(&walk->why, LATENTD_ERR_MEMORY,
		    "not enough memory; try again later");
	return walk->err == LATENTD_OK;
}

/* Read headers and parameters; the body is the worker's. */
static enum latentd_err
exchange_parse(struct exchange *ex, enum latentd_task task,
    const struct model *model, struct reason *why)
{
	const char *type = http_header(ex->http, "Content-Type");
	const char *accept = http_header(ex->http, "Accept");
	struct param_walk walk = {.ex = ex, .err = LATENTD_OK};

	remote_request_init(&ex->compute.req, task, model);
	remote_request_headers(&ex->compute.req, type, accept);
	if (ex->replica->cache != NULL &&
	    !(key_add(ex, http_path(ex->http)) && key_add(ex, type) &&
		key_add(ex, accept)))
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory; try again later");
	http_query_each(ex->http, on_param, &walk);
	if (walk.err != LATENTD_OK)
		*why = walk.why;
	return walk.err;
}

void
replica_serve(struct replica *replica, struct http_request *http,
    enum latentd_task task, const struct model *model, const struct fate *fate)
{
	struct exchange *ex = calloc(1, sizeof(*ex));
	struct reason why;

	if (ex == NULL) {
		reason_set(&why, LATENTD_ERR_MEMORY,
		    "not enough memory; try again later");
		reply_error(
		    http, replica->options.metrics, 503, NULL, NULL, &why);
		return;
	}
	ex->replica = replica;
	ex->http = http;
	ex->fate = *fate;
	ex->turn.slowdown = fate->slowdown;
	ex->compute.misfit = fate->fault == FAULT_WRONG_SIZE;
	ex->compute.fps = replica->options.fps;
	ex->compute.body = http_body(http, &ex->compute.body_bytes);
	ex->arrived_ns = uv_hrtime();
	TAILQ_INSERT_TAIL(&replica->exchanges, ex, link);
	replica->options.metrics->request_bytes += ex->compute.body_bytes;
	if (exchange_parse(ex, task, model, &why) != LATENTD_OK)
		exchange_fail(ex, &why);
	else
		admission_enter(replica->admission, &ex->turn);
}

void
replica_gone(struct replica *replica, struct http_request *http)
{
	struct exchange *ex;

	TAILQ_FOREACH(ex, &replica->exchanges, link)
	{
		if (ex->http == http)
			break;
	}
	if (ex == NULL)
		return;
	assert(!ex->computing);
	exchange_free(ex);
}

void
replica_adjust(struct replica *replica, unsigned parallel, uint64_t service_ms)
{
	admission_adjust(replica->admission, parallel, service_ms);
}

/* The latest that is not doomed: who waits comes before who is served, so that
 * nobody is granted the slot of one that was reset. */
static struct exchange *
latest(struct replica *replica)
{
	struct exchange *ex;

	TAILQ_FOREACH_REVERSE(ex, &replica->exchanges, exchange_list, link)
	{
		if (!ex->doomed)
			break;
	}
	return ex;
}

void
replica_drop(struct replica *replica)
{
	struct exchange *ex;

	/* Leaving may release others, so begin anew each time. */
	while ((ex = latest(replica)) != NULL) {
		ex->doomed = true;
		if (ex->computing)
			continue;
		admission_leave(replica->admission, &ex->turn);
		exchange_drop(ex);
	}
}

void
replica_measure(const struct replica *replica, struct metrics *metrics)
{
	metrics->active_n = admission_active(replica->admission);
	metrics->waiting_n = admission_waiting(replica->admission);
	metrics->cache_bytes =
	    replica->cache != NULL ? cache_bytes(replica->cache) : 0;
}

/* ---- opening and closing ---- */

void
replica_stop(struct replica *replica, void (*stopped)(void *), void *arg)
{
	struct exchange *ex;

	assert(!replica->stopping);
	replica->stopping = true;
	replica->stopped = stopped;
	replica->stopped_arg = arg;
	admission_stop(replica->admission);
	TAILQ_FOREACH(ex, &replica->exchanges, link)
	admission_leave(replica->admission, &ex->turn);
	if (replica->computing_n == 0)
		stopped(arg);
}

void
replica_close(struct replica *replica)
{
	if (replica == NULL)
		return;
	assert(TAILQ_EMPTY(&replica->exchanges));
	admission_close(replica->admission);
	cache_destroy(replica->cache);
	free(replica);
}

enum latentd_err
replica_open(uv_loop_t *loop, const struct replica_options *options,
    struct replica **out, struct reason *why)
{
	struct replica *replica = calloc(1, sizeof(*replica));
	struct admission_options slots = {
	    .parallel = options->parallel,
	    .service_ms = options->service_ms,
	    .granted = on_granted,
	    .released = on_released,
	    .arg = replica,
	};
	enum latentd_err err;

	if (replica == NULL)
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "not enough memory to begin");
	replica->loop = loop;
	replica->options = *options;
	TAILQ_INIT(&replica->exchanges);
	if (options->cache_bytes > 0) {
		replica->cache = cache_create(options->cache_bytes);
		if (replica->cache == NULL) {
			err = reason_set(why, LATENTD_ERR_MEMORY,
			    "not enough memory to begin");
			goto free_replica;
		}
	}
	err = admission_open(loop, &slots, &replica->admission, why);
	if (err != LATENTD_OK)
		goto destroy_cache;
	*out = replica;
	return LATENTD_OK;

destroy_cache:
	cache_destroy(replica->cache);
free_replica:
	free(replica);
	return err;
}
