/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "jobs_fixture.h"

#define OWN_UID 900u
#define INSTANCE 77u

static const struct door_peer root = {.has_uid = true, .uid = 0, .pipe = 1};
static const struct door_peer own = {
    .has_uid = true, .uid = OWN_UID, .pipe = 1};
/* fixture_producer()'s uid. */
static const struct door_peer user = {.has_uid = true, .uid = 1000, .pipe = 1};
static const struct door_peer other = {.has_uid = true, .uid = 1001, .pipe = 1};
static const struct door_peer remote = {.has_uid = false, .uid = 0, .pipe = 1};

struct fixture {
	struct fixture_jobs f;
	struct admin *a;
	struct auth *auth;
	struct producer *p, *q;
	bool stopping;
	struct job *cancelled;
	char by[32];
	struct job *kicked[16], *purged[16];
	size_t kicked_n, purged_n, drains_n;
	struct job *listed[LATENTD_MAX_LIST];
	size_t listed_n;
	uint64_t next;
	const struct job *asked;
	bool in_paused, out_paused;
	/* The latest reply. */
	nng_msg *msg;
	struct message_frame frame;
	struct message_scratch scratch;
	union message_any in;
};

static struct fixture x;

static void
on_cancel(struct job *job, const char *by, void *arg)
{
	(void)arg;
	x.cancelled = job;
	snprintf(x.by, sizeof(x.by), "%s", by);
}

static bool
on_stopping(void *arg)
{
	(void)arg;
	return x.stopping;
}

static void
on_kick(struct job *job, void *arg)
{
	(void)arg;
	cr_assert(x.kicked_n < 16);
	x.kicked[x.kicked_n++] = job;
}

static void
on_purge(struct job *job, void *arg)
{
	(void)arg;
	cr_assert(x.purged_n < 16);
	x.purged[x.purged_n++] = job;
	job_destroy(&x.f.jobs, job);
}

static void
on_pause(enum admin_side side, bool paused, void *arg)
{
	(void)arg;
	if (side != ADMIN_OUT)
		x.in_paused = paused;
	if (side != ADMIN_IN)
		x.out_paused = paused;
}

static void
on_drain(void *arg)
{
	(void)arg;
	x.drains_n++;
}

static char *
on_list(struct job *const *jobs, size_t n, uint64_t next, void *arg)
{
	(void)arg;
	memcpy(x.listed, jobs, n * sizeof(struct job *));
	x.listed_n = n;
	x.next = next;
	return strdup("[]");
}

static char *
on_why(const struct job *job, void *arg)
{
	(void)arg;
	x.asked = job;
	return strdup("{}");
}

static void
open_admin(void)
{
	const struct admin_sinks sinks = {.cancel = on_cancel,
	    .stopping = on_stopping,
	    .kick = on_kick,
	    .purge = on_purge,
	    .pause = on_pause,
	    .drain = on_drain,
	    .list = on_list,
	    .why = on_why};

	memset(&x, 0, sizeof(x));
	fixture_jobs_open(&x.f);
	x.auth = auth_create(&x.f.jobs.producers, INSTANCE, false);
	cr_assert_not_null(x.auth);
	x.a = admin_create(&x.f.jobs, x.auth, INSTANCE, OWN_UID, &sinks);
	cr_assert_not_null(x.a);
	x.p = fixture_producer(&x.f, "p");
	x.q = fixture_producer(&x.f, "q");
	producers_hold(x.p);
	producers_hold(x.q);
}

static void
close_admin(void)
{
	struct job *job;

	nng_msg_free(x.msg);
	while ((job = jobs_after(&x.f.jobs, 0)) != NULL)
		job_destroy(&x.f.jobs, job);
	admin_destroy(x.a);
	auth_destroy(x.auth);
	producers_release(&x.f.jobs.producers, x.p);
	producers_release(&x.f.jobs.producers, x.q);
	fixture_jobs_close(&x.f);
}

static struct job *
make(struct producer *p, const char *key, enum job_state state)
{
	struct job *job = fixture_job(&x.f, p, key, 1, 8);

	job_move(&x.f.jobs, job, JOB_QUEUED);
	if (state == JOB_QUEUED)
		return job;
	job_move(&x.f.jobs, job, JOB_ACTIVE);
	if (state != JOB_ACTIVE)
		job_move(&x.f.jobs, job, state);
	return job;
}

static enum message_type
ask(const struct door_peer *peer, enum message_type type, const void *in,
    size_t in_bytes)
{
	union message_any any;
	struct reason why;

	memset(&any, 0, sizeof(any));
	memcpy(&any, in, in_bytes);
	if (x.msg != NULL)
		nng_msg_free(x.msg);
	x.msg = admin_answer(x.a, peer, type, &any);
	cr_assert_eq(message_frame(nng_msg_body(x.msg), nng_msg_len(x.msg),
			 &x.frame, &why),
	    LATENTD_OK);
	cr_assert_eq(
	    message_decode(&x.frame, &x.scratch, &x.in, &why), LATENTD_OK);
	return x.frame.type;
}

static struct text
text(const char *s)
{
	return (struct text){s, strlen(s)};
}

static enum message_type
ask_cancel(const struct door_peer *peer, const char *name, uint64_t id)
{
	struct message_cancel in = {.producer = text(name), .id = id};

	return ask(peer, MESSAGE_CANCEL, &in, sizeof(in));
}

static enum message_type
ask_why(const struct door_peer *peer, const char *name, uint64_t id)
{
	struct message_why in = {.producer = text(name), .id = id};

	return ask(peer, MESSAGE_WHY, &in, sizeof(in));
}

static enum message_type
ask_list(const struct door_peer *peer, struct message_list in)
{
	if (in.producer.bytes == 0)
		in.producer = text("p");
	return ask(peer, MESSAGE_LIST, &in, sizeof(in));
}

static enum message_type
ask_admin(const struct door_peer *peer, struct message_admin in)
{
	if (in.producer.bytes == 0)
		in.producer = text("p");
	return ask(peer, MESSAGE_ADMIN, &in, sizeof(in));
}

static void
check_rejected(enum message_type type, enum latentd_err code, const char *said)
{
	char sentence[LATENTD_MAX_TEXT_BYTES + 1] = "";

	cr_assert_eq((int)type, MESSAGE_REJECTED);
	memcpy(sentence, x.in.rejected.message.at, x.in.rejected.message.bytes);
	cr_assert_eq((int)x.in.rejected.code, (int)code, "%s", sentence);
	cr_assert_not_null(strstr(sentence, said), "%s", sentence);
}

Test(admin, a_producer_cancels_its_own_jobs_only)
{
	struct job *a, *b;

	open_admin();
	a = make(x.p, "a", JOB_QUEUED);
	b = make(x.q, "b", JOB_ACTIVE);
	cr_assert_eq((int)ask_cancel(&user, "p", a->id), MESSAGE_CANCELLED);
	cr_assert_eq(x.cancelled, a);
	cr_assert_str_eq(x.by, "its producer");
	cr_assert_eq((int)x.in.cancelled.state, JOB_QUEUED);
	x.cancelled = NULL;
	check_rejected(
	    ask_cancel(&user, "p", b->id), LATENTD_ERR_NOT_FOUND, "\"p\"");
	check_rejected(
	    ask_cancel(&other, "q", b->id), LATENTD_ERR_NOT_FOUND, "\"q\"");
	check_rejected(
	    ask_cancel(&remote, "q", b->id), LATENTD_ERR_NOT_FOUND, "\"q\"");
	cr_assert_null(x.cancelled);
	close_admin();
}

Test(admin, root_and_the_daemons_own_user_cancel_everybodys_jobs)
{
	const struct door_peer *admins[] = {&root, &own};
	struct job *job;

	open_admin();
	job = make(x.q, "a", JOB_ACTIVE);
	for (size_t i = 0; i < 2; i++) {
		x.cancelled = NULL;
		cr_assert_eq((int)ask_cancel(admins[i], "any", job->id),
		    MESSAGE_CANCELLED);
		cr_assert_eq(x.cancelled, job);
		cr_assert_str_eq(x.by, "an administrator");
	}
	check_rejected(
	    ask_cancel(&root, "any", 99), LATENTD_ERR_NOT_FOUND, "99");
	close_admin();
}

Test(admin, cancelling_a_job_that_has_ended_has_its_own_error)
{
	const enum job_state states[] = {JOB_DONE, JOB_FAILED, JOB_CANCELLED};
	const char *keys[] = {"a", "b", "c"};

	open_admin();
	for (size_t i = 0; i < 3; i++) {
		const struct job *job = make(x.p, keys[i], states[i]);

		check_rejected(ask_cancel(&user, "p", job->id),
		    LATENTD_ERR_ENDED, job_state_name(states[i]));
		cr_assert_eq((int)job->state, (int)states[i]);
	}
	cr_assert_null(x.cancelled);
	close_admin();
}

Test(admin, a_question_without_key_and_id_names_both)
{
	open_admin();
	check_rejected(
	    ask_cancel(&user, "p", 0), LATENTD_ERR_INVALID, "\"key\"");
	check_rejected(ask_why(&user, "p", 0), LATENTD_ERR_INVALID, "\"id\"");
	check_rejected(
	    ask_admin(&root, (struct message_admin){.op = ADMIN_KICK}),
	    LATENTD_ERR_INVALID, "\"all\"");
	check_rejected(
	    ask_admin(&root,
		(struct message_admin){.op = ADMIN_PURGE, .id = 1, .all = 1}),
	    LATENTD_ERR_INVALID, "\"all\"");
	close_admin();
}

Test(admin, jobs_are_shown_to_their_uid_and_to_administrators)
{
	struct job *job;

	open_admin();
	job = make(x.q, "a", JOB_QUEUED);
	cr_assert_eq((int)ask_why(&user, "p", job->id), MESSAGE_REPORT);
	cr_assert_eq(x.asked, job);
	cr_assert_eq((int)ask_why(&own, "p", job->id), MESSAGE_REPORT);
	check_rejected(
	    ask_why(&other, "q", job->id), LATENTD_ERR_NOT_FOUND, "\"q\"");
	check_rejected(
	    ask_why(&remote, "q", job->id), LATENTD_ERR_NOT_FOUND, "\"q\"");
	cr_assert_eq((int)ask_list(&user, (struct message_list){.limit = 0}),
	    MESSAGE_REPORT);
	cr_assert_eq(x.listed_n, 1);
	ask_list(&other, (struct message_list){.limit = 0});
	cr_assert_eq(x.listed_n, 0);
	ask_list(&remote, (struct message_list){.limit = 0});
	cr_assert_eq(x.listed_n, 0);
	ask_list(&root, (struct message_list){.limit = 0});
	cr_assert_eq(x.listed_n, 1);
	close_admin();
}

Test(admin, a_list_is_filtered_and_goes_on_where_it_stopped)
{
	struct job *jobs[6];
	char key[2] = "a";

	open_admin();
	for (size_t i = 0; i < 6; i++, key[0]++)
		jobs[i] = make(i % 2 == 0 ? x.p : x.q, key,
		    i < 3 ? JOB_QUEUED : JOB_FAILED);
	ask_list(&user, (struct message_list){.state = JOB_FAILED});
	cr_assert_eq(x.listed_n, 3);
	cr_assert_eq(x.next, 0);
	ask_list(
	    &user, (struct message_list){.state = JOB_FAILED, .of = text("q")});
	cr_assert_eq(x.listed_n, 2);
	cr_assert_eq(x.listed[1], jobs[5]);
	ask_list(&user, (struct message_list){.limit = 4, .of = text("p")});
	cr_assert_eq(x.listed_n, 2);
	cr_assert_eq(x.next, jobs[3]->id);
	/* Where it stopped may be gone by then. */
	job_destroy(&x.f.jobs, jobs[3]);
	ask_list(&user, (struct message_list){.after = x.next});
	cr_assert_eq(x.listed_n, 2);
	cr_assert_eq(x.listed[0], jobs[4]);
	cr_assert_eq(x.next, 0);
	close_admin();
}

Test(admin, one_request_looks_at_a_thousand_jobs_at_the_most)
{
	char key[16];

	open_admin();
	for (unsigned i = 0; i < LATENTD_MAX_LIST + 5; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		make(x.p, key, JOB_QUEUED);
	}
	ask_list(&user, (struct message_list){.limit = 0});
	cr_assert_eq(x.listed_n, LATENTD_MAX_LIST);
	ask_list(&user, (struct message_list){.after = x.next});
	cr_assert_eq(x.listed_n, 5);
	ask_admin(&root, (struct message_admin){.op = ADMIN_KICK, .all = 1});
	cr_assert_eq(x.in.done.jobs, 0);
	cr_assert_eq(x.in.done.next, LATENTD_MAX_LIST);
	ask_admin(&root,
	    (struct message_admin){
		.op = ADMIN_KICK, .all = 1, .after = x.in.done.next});
	cr_assert_eq(x.in.done.next, 0);
	close_admin();
}

Test(admin, only_administrators_pause_resume_reload_and_drain)
{
	const struct door_peer *others[] = {&user, &other, &remote};
	const enum admin_op ops[] = {
	    ADMIN_PAUSE, ADMIN_RESUME, ADMIN_DRAIN, ADMIN_RELOAD};

	open_admin();
	for (size_t i = 0; i < 12; i++)
		check_rejected(ask_admin(others[i / 4],
				   (struct message_admin){.op = ops[i % 4]}),
		    LATENTD_ERR_DENIED, "root");
	cr_assert(!x.in_paused && !x.out_paused && x.drains_n == 0);
	cr_assert_eq(
	    (int)ask_admin(&own,
		(struct message_admin){.op = ADMIN_PAUSE, .side = ADMIN_IN}),
	    MESSAGE_DONE);
	cr_assert(x.in_paused && !x.out_paused);
	cr_assert_eq(x.in.done.instance, INSTANCE);
	ask_admin(&root, (struct message_admin){.op = ADMIN_PAUSE});
	cr_assert(x.in_paused && x.out_paused);
	ask_admin(&root,
	    (struct message_admin){.op = ADMIN_RESUME, .side = ADMIN_OUT});
	cr_assert(x.in_paused && !x.out_paused);
	ask_admin(&root, (struct message_admin){.op = ADMIN_DRAIN});
	cr_assert_eq(x.drains_n, 1);
	close_admin();
}

Test(admin, a_producer_kicks_and_purges_its_own_failed_jobs_only)
{
	struct job *mine, *theirs, *queued;

	open_admin();
	mine = make(x.p, "a", JOB_FAILED);
	theirs = make(x.q, "b", JOB_FAILED);
	queued = make(x.p, "c", JOB_QUEUED);
	check_rejected(
	    ask_admin(&user,
		(struct message_admin){.op = ADMIN_KICK, .id = theirs->id}),
	    LATENTD_ERR_DENIED, "\"q\"");
	check_rejected(
	    ask_admin(&other,
		(struct message_admin){.op = ADMIN_KICK, .id = theirs->id}),
	    LATENTD_ERR_NOT_FOUND, "\"p\"");
	check_rejected(
	    ask_admin(&user,
		(struct message_admin){.op = ADMIN_PURGE, .id = queued->id}),
	    LATENTD_ERR_INVALID, "queued");
	cr_assert_eq(x.kicked_n + x.purged_n, 0);
	ask_admin(&user, (struct message_admin){.op = ADMIN_KICK, .all = 1});
	cr_assert_eq(x.in.done.jobs, 1);
	cr_assert(x.kicked_n == 1 && x.kicked[0] == mine);
	ask_admin(
	    &user, (struct message_admin){.op = ADMIN_PURGE, .id = mine->id});
	cr_assert_eq(x.in.done.jobs, 1);
	cr_assert(x.purged_n == 1 && x.purged[0] == mine);
	close_admin();
}

Test(admin, an_administrator_kicks_everybodys_or_one_producers)
{
	struct job *b;

	open_admin();
	make(x.p, "a", JOB_FAILED);
	b = make(x.q, "b", JOB_FAILED);
	ask_admin(&root,
	    (struct message_admin){
		.op = ADMIN_KICK, .all = 1, .of = text("q")});
	cr_assert(x.kicked_n == 1 && x.kicked[0] == b);
	ask_admin(&root, (struct message_admin){.op = ADMIN_KICK, .all = 1});
	cr_assert_eq(x.kicked_n, 3);
	ask_admin(&root, (struct message_admin){.op = ADMIN_PURGE, .all = 1});
	cr_assert_eq(x.in.done.jobs, 2);
	cr_assert_eq(x.f.jobs.n, 0);
	close_admin();
}

Test(admin, nothing_is_kicked_without_its_latent_or_while_stopping)
{
	struct job *job;

	open_admin();
	job = make(x.p, "a", JOB_FAILED);
	x.stopping = true;
	check_rejected(
	    ask_admin(
		&user, (struct message_admin){.op = ADMIN_KICK, .id = job->id}),
	    LATENTD_ERR_STOPPING, "stopping");
	x.stopping = false;
	job_release_input(&x.f.jobs, job);
	check_rejected(
	    ask_admin(
		&user, (struct message_admin){.op = ADMIN_KICK, .id = job->id}),
	    LATENTD_ERR_INVALID, "latent");
	cr_assert_eq(x.kicked_n, 0);
	close_admin();
}
