/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads latents and results back, on uv's workers, each in a read transaction
 * of its own that ends with the copy.  A worker touches its own buffer only.  A
 * job whose latent is read has attempts that wait for it, so it stays; one whose
 * result is read may go meanwhile.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/log.h"
#include "spool_private.h"

struct load {
	uv_work_t work;
	struct spool *spool;
	struct job *job; /* NULL: it is gone */
	struct waiting_attempts attempts; /* of a latent */
	bool of_result;
	uint64_t id;
	nng_msg *msg; /* the latent, as one that is submitted */
	struct buffer *result;
	size_t bytes;
	uint32_t crc;
	struct reason why;
};

/* Where to read to; NULL when memory is out. */
static uint8_t *
room(struct load *l)
{
	if (l->of_result) {
		l->result = buffer_create(l->bytes);
		return l->result != NULL ? buffer_extend(l->result, l->bytes)
					 : NULL;
	}
	return nng_msg_alloc(&l->msg, l->bytes) == 0 ? nng_msg_body(l->msg)
						     : NULL;
}

static void
on_work(uv_work_t *work)
{
	struct load *l = work->data;
	struct spool *s = l->spool;
	uint8_t *at;

	l->why.err = LATENTD_OK;
	if ((at = room(l)) == NULL) {
		reason_set(&l->why, LATENTD_ERR_MEMORY,
		    "no memory to read job %llu back from the spool",
		    (unsigned long long)l->id);
		return;
	}
	uv_rwlock_rdlock(&s->store_lock);
	if (l->of_result)
		store_read_result(
		    s->store, l->id, at, l->bytes, l->crc, &l->why);
	else
		store_read_body(s->store, l->id, at, l->bytes, l->crc, &l->why);
	uv_rwlock_rdunlock(&s->store_lock);
}

static void
complain(struct spool *s, const struct load *l)
{
	/* Of one that went meanwhile nothing is lost. */
	if (l->job == NULL)
		return;
	s->lost_n += l->why.err == LATENTD_ERR_IO;
	log_error("job=%llu: %s", (unsigned long long)l->id, l->why.text);
}

static void
end_body(struct spool *s, struct load *l)
{
	struct job *job = l->job;
	const bool good = l->why.err == LATENTD_OK;
	struct attempt *a;

	job->body_load = NULL;
	if (good) {
		job_reload_input(s->jobs, job, l->msg);
		l->msg = NULL;
	}
	while ((a = TAILQ_FIRST(&l->attempts)) != NULL) {
		TAILQ_REMOVE(&l->attempts, a, waiting);
		a->loading = false;
		s->options.on_body(a, good ? NULL : &l->why, s->options.arg);
	}
}

static void
end_result(struct spool *s, struct load *l)
{
	struct job *job = l->job;

	if (job == NULL)
		return;
	job->result_reader = NULL;
	/* It may have been given up meanwhile. */
	if (!job->result_stored)
		return;
	if (l->why.err == LATENTD_OK) {
		job_reload_result(s->jobs, job, l->result);
		l->result = NULL;
	}
	s->options.on_result(
	    job, l->why.err == LATENTD_OK ? NULL : &l->why, s->options.arg);
}

static void
on_after_work(uv_work_t *work, int status)
{
	struct load *l = work->data;
	struct spool *s = l->spool;

	(void)status;
	if (l->why.err != LATENTD_OK)
		complain(s, l);
	if (l->of_result)
		end_result(s, l);
	else
		end_body(s, l);
	if (l->msg != NULL)
		nng_msg_free(l->msg);
	buffer_destroy(l->result);
	free(l);
	s->loads_n--;
	spool_rest(s);
}

static struct load *
start(struct spool *s, struct job *job, bool of_result)
{
	struct load *l = calloc(1, sizeof(*l));
	int rv;

	/* Of this size, memory that is out ends the program. */
	if (l == NULL)
		abort();
	l->spool = s;
	l->job = job;
	l->id = job->id;
	l->of_result = of_result;
	TAILQ_INIT(&l->attempts);
	l->bytes = of_result ? job->result_bytes
			     : job->payload_bytes + job->metadata_bytes;
	l->crc = of_result ? job->result_crc : job->body_crc;
	l->work.data = l;
	s->loads_n++;
	rv = uv_queue_work(s->loop, &l->work, on_work, on_after_work);
	assert(rv == 0);
	return l;
}

void
spool_load_body(struct spool *s, struct attempt *attempt)
{
	struct job *job = attempt->job;

	assert(job->message == NULL && job->body_stored);
	if (job->body_load == NULL)
		job->body_load = start(s, job, false);
	attempt->loading = true;
	TAILQ_INSERT_TAIL(&job->body_load->attempts, attempt, waiting);
}

void
spool_load_result(struct spool *s, struct job *job)
{
	assert(job->result == NULL && job->result_stored);
	if (job->result_reader == NULL)
		job->result_reader = &start(s, job, true)->job;
}
