/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "base/buffer.h"
#include "jobs_fixture.h"

#define TEXT(s) ((struct text){s, sizeof(s) - 1})

Test(job, a_new_job_is_found_by_id_and_by_its_producers_key)
{
	struct fixture_jobs f;
	struct producer *p;
	struct job *a, *b;

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	a = fixture_job(&f, p, "a", 1, 0);
	b = fixture_job(&f, p, "b", 1, 0);
	cr_assert_neq(a->id, b->id);
	cr_assert_eq(jobs_by_id(&f.jobs, a->id), a);
	cr_assert_eq(jobs_by_id(&f.jobs, b->id), b);
	cr_assert_null(jobs_by_id(&f.jobs, b->id + 1));
	cr_assert_null(jobs_by_id(&f.jobs, 0));
	cr_assert_eq(jobs_by_key(p, TEXT("a")), a);
	cr_assert_eq(jobs_by_key(p, TEXT("b")), b);
	cr_assert_null(jobs_by_key(p, TEXT("")));
	cr_assert_null(jobs_by_key(p, TEXT("ab")));
	cr_assert_eq(f.jobs.n, 2);
	cr_assert_eq(f.jobs.state_n[JOB_NEW], 2);
	cr_assert_eq(p->jobs_n, 2);
	cr_assert_eq(p->open_n, 0);
	job_destroy(&f.jobs, a);
	cr_assert_null(jobs_by_key(p, TEXT("a")));
	cr_assert_eq(jobs_by_key(p, TEXT("b")), b);
	job_destroy(&f.jobs, b);
	fixture_jobs_close(&f);
}

Test(job, the_same_key_of_another_producer_is_another_job)
{
	struct fixture_jobs f;
	struct producer *p, *q;
	struct job *a, *b;

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	q = fixture_producer(&f, "q");
	cr_assert_neq(p, q);
	a = fixture_job(&f, p, "key", 1, 0);
	cr_assert_null(jobs_by_key(q, TEXT("key")));
	b = fixture_job(&f, q, "key", 1, 0);
	cr_assert_eq(jobs_by_key(p, TEXT("key")), a);
	cr_assert_eq(jobs_by_key(q, TEXT("key")), b);
	job_destroy(&f.jobs, a);
	cr_assert_eq(jobs_by_key(q, TEXT("key")), b);
	job_destroy(&f.jobs, b);
	fixture_jobs_close(&f);
}

Test(job, keys_of_64_bytes_are_kept_whole)
{
	struct fixture_jobs f;
	struct producer *p;
	struct job *a, *b;
	char key[65] = "";

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	memset(key, 'k', 64);
	a = fixture_job(&f, p, key, 1, 0);
	key[63] = 'l';
	b = fixture_job(&f, p, key, 1, 0);
	cr_assert_neq(a, b);
	cr_assert_str_eq(b->key, key);
	job_destroy(&f.jobs, a);
	job_destroy(&f.jobs, b);
	fixture_jobs_close(&f);
}

static const bool moves[JOB_STATE_COUNT][JOB_STATE_COUNT] = {
    [JOB_NEW] = {[JOB_QUEUED] = true},
    [JOB_QUEUED] = {[JOB_ACTIVE] = true,
	[JOB_CANCELLED] = true,
	[JOB_FAILED] = true,
	[JOB_EXPIRED] = true},
    [JOB_ACTIVE] = {[JOB_QUEUED] = true,
	[JOB_DONE] = true,
	[JOB_FAILED] = true,
	[JOB_CANCELLED] = true,
	[JOB_EXPIRED] = true},
    [JOB_FAILED] = {[JOB_QUEUED] = true},
};

/* Bring a NEW job to ${state} by allowed moves. */
static void
bring_to(struct fixture_jobs *f, struct job *job, enum job_state state)
{
	if (state == JOB_NEW)
		return;
	job_move(&f->jobs, job, JOB_QUEUED);
	if (state == JOB_QUEUED)
		return;
	job_move(&f->jobs, job, JOB_ACTIVE);
	if (state != JOB_ACTIVE)
		job_move(&f->jobs, job, state);
}

/* Whether moving a job so ends the process by abort(). */
static bool
move_aborts(enum job_state from, enum job_state to)
{
	struct fixture_jobs f;
	struct job *job;
	int status = 0;
	pid_t child = fork();

	cr_assert(child >= 0);
	if (child == 0) {
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		fixture_jobs_open(&f);
		job = fixture_job(&f, fixture_producer(&f, "p"), "k", 1, 0);
		bring_to(&f, job, from);
		job_move(&f.jobs, job, to);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	    (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
	return WIFSIGNALED(status);
}

Test(job, only_the_moves_of_the_drawing_are_allowed_and_others_abort)
{
	for (enum job_state from = JOB_NEW; from < JOB_STATE_COUNT; from++) {
		for (enum job_state to = JOB_NEW; to < JOB_STATE_COUNT; to++)
			cr_assert_eq(move_aborts(from, to), !moves[from][to],
			    "%d to %d", (int)from, (int)to);
	}
}

Test(job, ends_are_counted_once_and_open_jobs_per_producer)
{
	static const enum job_state ends[] = {
	    JOB_DONE, JOB_FAILED, JOB_CANCELLED, JOB_EXPIRED};
	struct fixture_jobs f;
	struct producer *p;

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	producers_hold(p);
	for (size_t i = 0; i < 4; i++) {
		struct job *job = fixture_job(&f, p, "k", 1, 0);

		job_move(&f.jobs, job, JOB_QUEUED);
		cr_assert_eq(p->open_n, 1);
		job_move(&f.jobs, job, JOB_ACTIVE);
		job_move(&f.jobs, job, JOB_QUEUED);
		job_move(&f.jobs, job, JOB_ACTIVE);
		cr_assert_eq(p->open_n, 1);
		cr_assert_eq(f.jobs.ended_n[ends[i]], 0);
		job_move(&f.jobs, job, ends[i]);
		cr_assert_eq(p->open_n, 0);
		cr_assert_eq(f.jobs.ended_n[ends[i]], 1);
		job_destroy(&f.jobs, job);
		cr_assert_eq(f.jobs.ended_n[ends[i]], 1);
	}
	cr_assert_eq(f.moves_n, 20);
	producers_release(&f.jobs.producers, p);
	fixture_jobs_close(&f);
}

Test(job, one_with_a_running_attempt_is_never_destroyed, .signal = SIGABRT)
{
	struct fixture_jobs f;
	struct job *job;

	fixture_jobs_open(&f);
	job = fixture_job(&f, fixture_producer(&f, "p"), "k", 1, 0);
	job->in_flight_n = 1;
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
	job_destroy(&f.jobs, job);
}

Test(job, parts_are_equal_shares_of_the_payload)
{
	struct fixture_jobs f;
	struct job *job;
	size_t bytes;

	fixture_jobs_open(&f);
	job = fixture_job(&f, fixture_producer(&f, "p"), "k", 3, 999);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(
		    job_part_data(job, i, &bytes), job->payload + i * 333);
		cr_assert_eq(bytes, 333);
	}
	job_destroy(&f.jobs, job);
	fixture_jobs_close(&f);
}

static void
finish_parts(struct job *job, size_t files_n)
{
	for (size_t i = 0; i < job->parts_n; i++) {
		struct part *part = &job->parts[i];

		part->reply = fixture_reply(
		    files_n, (uint8_t)('a' + i), &part->file_bytes);
		part->files_n = files_n;
		part->state = PART_DONE;
		job->done_n++;
	}
}

Test(job, the_result_of_one_part_is_its_reply_itself)
{
	struct fixture_jobs f;
	struct job *job;
	struct buffer *reply;

	fixture_jobs_open(&f);
	job = fixture_job(&f, fixture_producer(&f, "p"), "k", 1, 10);
	finish_parts(job, 3);
	reply = job->parts[0].reply;
	cr_assert_eq(job_gather(&f.jobs, job), LATENTD_OK);
	cr_assert_eq(job->result, reply);
	cr_assert_null(job->parts[0].reply);
	cr_assert_eq(job->files_n, 3);
	cr_assert_eq(job->result_bytes, 6);
	cr_assert_eq(f.jobs.result_bytes, 6);
	job_drop_result(&f.jobs, job);
	cr_assert_eq(f.jobs.result_bytes, 0);
	cr_assert_null(job->result);
	job_drop_result(&f.jobs, job);
	job_destroy(&f.jobs, job);
	fixture_jobs_close(&f);
}

Test(job, the_results_of_many_parts_stand_behind_each_other_in_order)
{
	static const uint64_t sizes[] = {1, 2, 1, 2, 1, 2};
	struct fixture_jobs f;
	struct job *job;

	fixture_jobs_open(&f);
	job = fixture_job(&f, fixture_producer(&f, "p"), "k", 3, 9);
	finish_parts(job, 2);
	cr_assert_eq(job_gather(&f.jobs, job), LATENTD_OK);
	cr_assert_eq(job->files_n, 6);
	cr_assert_arr_eq(job->file_bytes, sizes, sizeof(sizes));
	cr_assert_eq(job->result_bytes, 9);
	cr_assert_eq(job->result->bytes, job->result_bytes);
	cr_assert_arr_eq(job->result->at, "aaabbbccc", 9);
	job_destroy(&f.jobs, job);
	fixture_jobs_close(&f);
}

/* ---- random sequences ---- */

#define PRODUCERS_N 7
#define JOBS_N 40

struct walk {
	struct fixture_jobs f;
	struct job *jobs[JOBS_N];
	size_t message_bytes[JOBS_N];
	unsigned next_key;
};

static void
check_books(struct walk *m)
{
	size_t state_n[JOB_STATE_COUNT] = {0}, n = 0;
	uint64_t input_bytes = 0, result_bytes = 0;
	const struct producer *p;

	for (size_t i = 0; i < JOBS_N; i++) {
		if (m->jobs[i] == NULL)
			continue;
		n++;
		state_n[m->jobs[i]->state]++;
		input_bytes += m->message_bytes[i];
		result_bytes += m->jobs[i]->result_bytes;
	}
	cr_assert_eq(m->f.jobs.n, n);
	cr_assert_arr_eq(m->f.jobs.state_n, state_n, sizeof(state_n));
	cr_assert_eq(m->f.jobs.input_bytes, input_bytes);
	cr_assert_eq(m->f.jobs.result_bytes, result_bytes);
	for (p = m->f.jobs.producers.table; p != NULL; p = p->hh.next) {
		size_t jobs_n = 0, open_n = 0;

		for (size_t i = 0; i < JOBS_N; i++) {
			struct job *job = m->jobs[i];

			if (job == NULL || job->producer != p)
				continue;
			jobs_n++;
			open_n += job->state == JOB_QUEUED ||
			    job->state == JOB_ACTIVE;
		}
		cr_assert_eq(p->jobs_n, jobs_n);
		cr_assert_eq(p->open_n, open_n);
		cr_assert(jobs_n > 0, "an idle producer was kept");
	}
}

static void
step(struct walk *m, struct fuzz *f)
{
	size_t i = fuzz_below(f, JOBS_N);
	struct job *job = m->jobs[i];
	enum job_state to = (enum job_state)fuzz_below(f, JOB_STATE_COUNT);
	char name[16];

	if (job == NULL) {
		m->message_bytes[i] = fuzz_below(f, 3000);
		snprintf(
		    name, sizeof(name), "p%zu", fuzz_below(f, PRODUCERS_N));
		struct producer *p = fixture_producer(&m->f, name);
		snprintf(name, sizeof(name), "k%u", m->next_key++);
		m->jobs[i] = fixture_job(
		    &m->f, p, name, 1 + fuzz_below(f, 3), m->message_bytes[i]);
	} else if (moves[job->state][to] && fuzz_below(f, 8) != 0) {
		if (to == JOB_DONE) {
			finish_parts(job, 2);
			cr_assert_eq(job_gather(&m->f.jobs, job), LATENTD_OK);
		}
		job_move(&m->f.jobs, job, to);
	} else if (fuzz_below(f, 3) == 0) {
		job_release_input(&m->f.jobs, job);
		m->message_bytes[i] = 0;
	} else if (fuzz_below(f, 3) == 0) {
		job_drop_result(&m->f.jobs, job);
	} else if (fuzz_below(f, 3) == 0) {
		job_destroy(&m->f.jobs, job);
		m->jobs[i] = NULL;
	}
}

Test(job, the_books_are_right_at_every_step_and_empty_at_the_end)
{
	struct walk m = {.next_key = 0};
	struct fuzz f = {.state = 11};

	fixture_jobs_open(&m.f);
	for (int i = 0; i < 20000; i++) {
		step(&m, &f);
		check_books(&m);
	}
	cr_assert(m.next_key > 1000);
	for (size_t i = 0; i < JOBS_N; i++) {
		if (m.jobs[i] != NULL)
			job_destroy(&m.f.jobs, m.jobs[i]);
	}
	fixture_jobs_close(&m.f);
}

Test(job, jobs_are_found_in_the_order_of_their_ids)
{
	struct fixture_jobs f;
	struct producer *p;
	struct job *jobs[5];
	char key[2] = "a";

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	cr_assert_null(jobs_after(&f.jobs, 0));
	for (size_t i = 0; i < 5; i++, key[0]++)
		jobs[i] = fixture_job(&f, p, key, 1, 0);
	cr_assert_eq(jobs_after(&f.jobs, 0), jobs[0]);
	cr_assert_eq(jobs_after(&f.jobs, jobs[1]->id), jobs[2]);
	job_destroy(&f.jobs, jobs[2]);
	cr_assert_eq(jobs_after(&f.jobs, jobs[1]->id), jobs[3]);
	cr_assert_null(jobs_after(&f.jobs, jobs[4]->id));
	cr_assert_null(jobs_after(&f.jobs, UINT64_MAX));
	for (size_t i = 0; i < 5; i++) {
		if (i != 2)
			job_destroy(&f.jobs, jobs[i]);
	}
	fixture_jobs_close(&f);
}

Test(job, its_history_keeps_the_last_eight_attempts_from_the_first_failure_on)
{
	struct history_entry entry = {.err = LATENTD_OK};
	struct history *h = NULL;

	history_note(&h, &entry);
	cr_assert_null(h);
	cr_assert_eq(history_n(h), 0);
	entry.err = LATENTD_ERR_TIMEOUT;
	for (unsigned i = 0; i < 11; i++) {
		entry.took_ms = i;
		history_note(&h, &entry);
		cr_assert_eq(history_n(h), i < 7 ? i + 1 : 8);
		entry.err = LATENTD_OK;
	}
	for (unsigned i = 0; i < 8; i++)
		cr_assert_eq(history_at(h, i)->took_ms, i + 3);
	free(h);
}
