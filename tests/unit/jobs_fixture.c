/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static void
on_move(const struct job *job, enum job_state from, void *arg)
{
	struct fixture_jobs *f = arg;

	cr_assert_neq((int)job->state, (int)from);
	f->moves_n++;
}

void
fixture_jobs_open(struct fixture_jobs *f)
{
	memset(f, 0, sizeof(*f));
	fixture_loop_open(&f->loop);
	jobs_init(&f->jobs, on_move, f);
	f->jobs.producers.bounds =
	    (struct producer_bounds){SIZE_MAX, UINT64_MAX, 1};
}

void
fixture_jobs_close(struct fixture_jobs *f)
{
	fixture_loop_close(&f->loop);
	cr_assert_eq(f->jobs.n, 0);
	for (size_t i = 0; i < JOB_STATE_COUNT; i++)
		cr_assert_eq(f->jobs.state_n[i], 0, "state %zu", i);
	cr_assert_eq(f->jobs.input_bytes, 0);
	cr_assert_eq(f->jobs.result_bytes, 0);
	cr_assert_eq(f->jobs.expected_bytes, 0);
	cr_assert(TAILQ_EMPTY(&f->jobs.owned));
	cr_assert(RB_EMPTY(&f->jobs.by_id));
	cr_assert_eq(f->jobs.buried_n, 0);
	cr_assert_null(f->jobs.producers.table);
}

struct producer *
fixture_producer(struct fixture_jobs *f, const char *name)
{
	struct producer_identity identity;
	struct producer *p;

	producer_identity(1000, (struct text){name, strlen(name)},
	    (struct text){NULL, 0}, &identity);
	p = producers_get(&f->jobs.producers, &identity);
	cr_assert_not_null(p);
	return p;
}

struct job *
fixture_job(struct fixture_jobs *f, struct producer *producer, const char *key,
    size_t parts_n, size_t message_bytes)
{
	struct job *job = NULL;
	nng_msg *msg;

	cr_assert_eq(job_create(&f->jobs, producer,
			 (struct text){key, strlen(key)}, parts_n, &job, NULL),
	    LATENTD_OK);
	job->geo = (struct geometry){.batch = (uint32_t)parts_n, .frames = 1};
	job->cost_px = 1;
	if (message_bytes == 0)
		return job;
	cr_assert_eq(nng_msg_alloc(&msg, message_bytes), 0);
	job->payload = nng_msg_body(msg);
	job->payload_bytes = message_bytes;
	job_hold(&f->jobs, job, msg);
	return job;
}

struct buffer *
fixture_reply(size_t files_n, uint8_t byte, uint64_t **file_bytes)
{
	struct buffer *reply = buffer_create(16);

	*file_bytes = calloc(files_n, sizeof(**file_bytes));
	cr_assert(reply != NULL && *file_bytes != NULL);
	for (size_t i = 0; i < files_n; i++) {
		(*file_bytes)[i] = i + 1;
		for (size_t k = 0; k <= i; k++)
			cr_assert(buffer_append(reply, &byte, 1));
	}
	return reply;
}
