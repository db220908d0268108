/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers what is asked about jobs that exist, and says who may do what to
 * them.  Nothing waits here and nothing is kept: a request that walks over jobs
 * looks at LATENTD_MAX_LIST of them at the most and says where to go on.
 */
#include "admin.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "peer.h"
#include "reply.h"

struct admin {
	struct jobs *jobs;
	struct auth *auth;
	uint64_t instance;
	uint64_t own_uid;
	struct admin_sinks sinks;
	struct job *listed[LATENTD_MAX_LIST];
};

/* Who asks. */
struct asker {
	struct producer_identity identity;
	bool is_admin;
};

struct admin *
admin_create(struct jobs *jobs, struct auth *auth, uint64_t instance,
    uint64_t own_uid, const struct admin_sinks *sinks)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->jobs = jobs;
	a->auth = auth;
	a->instance = instance;
	a->own_uid = own_uid;
	a->sinks = *sinks;
	return a;
}

void
admin_destroy(struct admin *a)
{
	free(a);
}

static nng_msg *
reject(const struct reason *why)
{
	log_debug("rejected: %s: %s", latentd_err_name(why->err), why->text);
	return reply_rejected(why);
}

/* ---- who may do what ---- */

static bool
is_own(const struct asker *asker, const struct job *job)
{
	return producer_is(job->producer, &asker->identity);
}

static bool
may_see(const struct asker *asker, const struct job *job)
{
	return asker->is_admin || is_own(asker, job) ||
	    (producer_has_uid(&asker->identity) &&
		asker->identity.uid == job->producer->identity.uid);
}

static bool
may_change(const struct asker *asker, const struct job *job)
{
	return asker->is_admin || is_own(asker, job);
}

static bool
is_of(const struct job *job, struct text of)
{
	const char *name = job->producer->identity.name;

	return of.bytes == 0 ||
	    (strlen(name) == of.bytes && memcmp(name, of.at, of.bytes) == 0);
}

/* Whose name is known with another secret only, has the wrong one. */
static bool
is_stranger(struct admin *a, const struct asker *asker, struct reason *why)
{
	if (asker->is_admin ||
	    !producers_stranger(&a->jobs->producers, &asker->identity))
		return false;
	reason_set(why, LATENTD_ERR_DENIED,
	    "producer \"%s\" has another secret than the one given",
	    asker->identity.name);
	return true;
}

/* The job of a key of the asker's, or of an id; what the asker may not see
 * does not exist. */
static enum latentd_err
find_job(struct admin *a, const struct asker *asker, const char *request,
    struct text key, uint64_t id, struct job **job, struct reason *why)
{
	const char *name = asker->identity.name;
	struct producer *producer =
	    producers_find(&a->jobs->producers, &asker->identity);

	if (key.bytes == 0 && id == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s: field \"key\" or \"id\" is missing", request);
	if (key.bytes > 0) {
		*job = producer != NULL ? jobs_by_key(producer, key) : NULL;
		/* One that is being stored was not accepted yet. */
		if (*job == NULL || (*job)->state == JOB_NEW)
			return reason_set(why, LATENTD_ERR_NOT_FOUND,
			    "producer \"%s\" has no job with key \"%.*s\"",
			    name, (int)key.bytes, key.at);
		return LATENTD_OK;
	}
	*job = jobs_by_id(a->jobs, id);
	if (*job != NULL && (*job)->state != JOB_NEW && may_see(asker, *job))
		return LATENTD_OK;
	if (asker->is_admin)
		return reason_set(why, LATENTD_ERR_NOT_FOUND,
		    "there is no job with id %" PRIu64, id);
	return reason_set(why, LATENTD_ERR_NOT_FOUND,
	    "producer \"%s\" has no job with id %" PRIu64, name, id);
}

/* ---- CANCEL ---- */

static nng_msg *
answer_cancel(
    struct admin *a, const struct asker *asker, const struct message_cancel *c)
{
	struct message_cancelled m;
	struct reason why;
	struct job *job;

	if (find_job(a, asker, "CANCEL", c->key, c->id, &job, &why) !=
	    LATENTD_OK)
		return reject(&why);
	if (!may_change(asker, job)) {
		reason_set(&why, LATENTD_ERR_NOT_FOUND,
		    "producer \"%s\" has no job with id %" PRIu64,
		    asker->identity.name, c->id);
		return reject(&why);
	}
	if (job->state != JOB_QUEUED && job->state != JOB_ACTIVE) {
		reason_set(&why, LATENTD_ERR_ENDED,
		    "job %" PRIu64 " is %s already", job->id,
		    job_state_name(job->state));
		return reject(&why);
	}
	m = (struct message_cancelled){.id = job->id, .state = job->state};
	a->sinks.cancel(job,
	    is_own(asker, job) ? "its producer" : "an administrator",
	    a->sinks.arg);
	return reply_create(MESSAGE_CANCELLED, &m, NULL, 0);
}

/* ---- LIST and WHY ---- */

static nng_msg *
reply_json(struct admin *a, char *json)
{
	struct message_report m = {.instance = a->instance};
	nng_msg *msg;

	if (json == NULL)
		abort();
	msg = reply_create(MESSAGE_REPORT, &m, json, strlen(json));
	free(json);
	return msg;
}

static nng_msg *
answer_list(
    struct admin *a, const struct asker *asker, const struct message_list *l)
{
	uint64_t most = l->limit > 0 ? l->limit : LATENTD_MAX_LIST, looked_n;
	struct job *job = jobs_after(a->jobs, l->after);
	uint64_t next = 0;
	size_t n = 0;

	for (looked_n = 0; job != NULL && looked_n < most; looked_n++) {
		if (job->state != JOB_NEW && may_see(asker, job) &&
		    is_of(job, l->of) &&
		    (l->state == JOB_NEW || l->state == job->state))
			a->listed[n++] = job;
		next = job->id;
		job = jobs_after(a->jobs, next);
	}
	return reply_json(a,
	    a->sinks.list(a->listed, n, job != NULL ? next : 0, a->sinks.arg));
}

static nng_msg *
answer_why(
    struct admin *a, const struct asker *asker, const struct message_why *w)
{
	struct reason why;
	struct job *job;

	if (find_job(a, asker, "WHY", w->key, w->id, &job, &why) != LATENTD_OK)
		return reject(&why);
	return reply_json(a, a->sinks.why(job, a->sinks.arg));
}

/* ---- ADMIN ---- */

static nng_msg *
reply_done(const struct admin *a, uint64_t jobs, uint64_t next)
{
	struct message_done m = {
	    .instance = a->instance, .jobs = jobs, .next = next};

	return reply_create(MESSAGE_DONE, &m, NULL, 0);
}

static void
change(struct admin *a, const struct asker *asker, enum admin_op op,
    struct job *job)
{
	log_info("job=%" PRIu64 " producer=%s key=%s: %s by %s", job->id,
	    job->producer->identity.name, job->key,
	    op == ADMIN_KICK ? "kicked" : "purged",
	    is_own(asker, job) ? "its producer" : "an administrator");
	if (op == ADMIN_KICK)
		a->sinks.kick(job, a->sinks.arg);
	else
		a->sinks.purge(job, a->sinks.arg);
}

/* Whether ${job} failed and has its latent still. */
static bool
is_changeable(const struct job *job)
{
	return job->state == JOB_FAILED && job_has_input(job) && !job->storing;
}

static nng_msg *
change_one(
    struct admin *a, const struct asker *asker, const struct message_admin *m)
{
	const char *verb = m->op == ADMIN_KICK ? "kicked" : "purged";
	const struct text no_key = {NULL, 0};
	struct reason why;
	struct job *job;

	if (find_job(a, asker, "ADMIN", no_key, m->id, &job, &why) !=
	    LATENTD_OK)
		return reject(&why);
	if (!may_change(asker, job)) {
		reason_set(&why, LATENTD_ERR_DENIED,
		    "job %" PRIu64 " is of producer \"%s\"; only that one, "
		    "root and the daemon's own user may have it %s",
		    job->id, job->producer->identity.name, verb);
		return reject(&why);
	}
	if (!is_changeable(job)) {
		reason_set(&why, LATENTD_ERR_INVALID,
		    "job %" PRIu64 " is %s; only failed jobs that have their "
		    "latent still can be %s",
		    job->id, job_state_name(job->state), verb);
		return reject(&why);
	}
	change(a, asker, m->op, job);
	return reply_done(a, 1, 0);
}

static nng_msg *
change_all(
    struct admin *a, const struct asker *asker, const struct message_admin *m)
{
	struct job *job = jobs_after(a->jobs, m->after), *next;
	uint64_t changed_n = 0, looked_n, last = 0;

	for (looked_n = 0; job != NULL && looked_n < LATENTD_MAX_LIST;
	     looked_n++, job = next) {
		last = job->id;
		next = jobs_after(a->jobs, last);
		if (!is_changeable(job) || !may_change(asker, job) ||
		    !is_of(job, m->of))
			continue;
		change(a, asker, m->op, job);
		changed_n++;
	}
	return reply_done(a, changed_n, job != NULL ? last : 0);
}

static nng_msg *
answer_change(
    struct admin *a, const struct asker *asker, const struct message_admin *m)
{
	struct reason why;

	if ((m->id != 0) == (m->all != 0)) {
		reason_set(&why, LATENTD_ERR_INVALID,
		    "ADMIN: either field \"id\" or \"all\" is needed, to say "
		    "which failed jobs are meant");
		return reject(&why);
	}
	if (m->op == ADMIN_KICK && a->sinks.stopping(a->sinks.arg)) {
		reason_set(&why, LATENTD_ERR_STOPPING,
		    "the daemon is stopping and queues nothing any more");
		return reject(&why);
	}
	return m->id != 0 ? change_one(a, asker, m) : change_all(a, asker, m);
}

static nng_msg *
answer_admin(
    struct admin *a, const struct asker *asker, const struct message_admin *m)
{
	static const char *const ops[] = {[ADMIN_PAUSE] = "pause",
	    [ADMIN_RESUME] = "resume",
	    [ADMIN_DRAIN] = "drain",
	    [ADMIN_RELOAD] = "reload"};
	struct reason why;

	if (m->op == ADMIN_KICK || m->op == ADMIN_PURGE)
		return answer_change(a, asker, m);
	if (!asker->is_admin) {
		reason_set(&why, LATENTD_ERR_DENIED,
		    "only root and the daemon's own user, over its ipc:// "
		    "socket, may %s the daemon",
		    ops[m->op]);
		return reject(&why);
	}
	if (m->op == ADMIN_RELOAD)
		return NULL;
	if (m->op == ADMIN_DRAIN)
		a->sinks.drain(a->sinks.arg);
	else
		a->sinks.pause(m->side, m->op == ADMIN_PAUSE, a->sinks.arg);
	return reply_done(a, 0, 0);
}

/* Every request begins with who asks; false: that is still to be proved. */
static bool
identify(const struct admin *a, struct asker *asker,
    const struct door_peer *peer, enum message_type type,
    const union message_any *in)
{
	struct text name = in->cancel.producer, secret = in->cancel.secret;

	if (type == MESSAGE_LIST) {
		name = in->list.producer;
		secret = in->list.secret;
	} else if (type == MESSAGE_WHY) {
		name = in->why.producer;
		secret = in->why.secret;
	} else if (type == MESSAGE_ADMIN) {
		name = in->admin.producer;
		secret = in->admin.secret;
	}
	if (auth_identify(a->auth, peer, name, secret, &asker->identity) ==
	    AUTH_KNOWN)
		return true;
	if (asker->is_admin)
		peer_identity(peer, name, secret, &asker->identity);
	return asker->is_admin;
}

nng_msg *
admin_answer(struct admin *a, const struct door_peer *peer,
    enum message_type type, const union message_any *in)
{
	struct asker asker = {.is_admin = peer_is_admin(peer, a->own_uid)};
	struct reason why;

	if (!identify(a, &asker, peer, type, in))
		return auth_challenge(a->auth, peer);
	if (is_stranger(a, &asker, &why))
		return reject(&why);
	switch ((int)type) {
	case MESSAGE_CANCEL:
		return answer_cancel(a, &asker, &in->cancel);
	case MESSAGE_LIST:
		return answer_list(a, &asker, &in->list);
	case MESSAGE_WHY:
		return answer_why(a, &asker, &in->why);
	default:
		assert(type == MESSAGE_ADMIN);
		return answer_admin(a, &asker, &in->admin);
	}
}
