/* SPDX-License-Identifier: Apache-2.0 */
#include "joblog.h"

#include <inttypes.h>

#include <uv.h>

#include "base/log.h"

#define MS_NS 1000000u

void
joblog_ended(const struct job *job)
{
	uint64_t started_ns =
	    job->started_ns != 0 ? job->started_ns : job->finished_ns;
	uint64_t decoded_ns =
	    job->decoded_ns != 0 ? job->decoded_ns : job->finished_ns;
	const bool done = job->reason.err == LATENTD_OK;

	log_info("job=%" PRIu64
		 " producer=%s key=%s task=%s model=%s output=%s "
		 "outcome=%s endpoint=%s http=%ld queued_ms=%" PRIu64
		 " decode_ms=%" PRIu64 " finish_ms=%" PRIu64
		 " in_bytes=%zu out_bytes=%zu attempts=%u%s%s",
	    job->id, job->producer->identity.name, job->key,
	    task_name(job->remote.task), job->remote.model->name,
	    output_name(job->output), job_state_name(job->state),
	    job->endpoint[0] != '\0' ? job->endpoint : "-", job->http_status,
	    (started_ns - job->submitted_ns) / MS_NS,
	    (decoded_ns - started_ns) / MS_NS,
	    (job->finished_ns - decoded_ns) / MS_NS, job->payload_bytes,
	    job->result_bytes, job->attempts_n,
	    done ? "" : " reason=", done ? "" : job->reason.text);
}

void
joblog_retry(const struct job *job)
{
	uint64_t now_ns = uv_hrtime();

	if (job->retry_at_ns > now_ns)
		log_warn("job=%" PRIu64 " waits %" PRIu64
			 " ms after a failed request: %s",
		    job->id, (job->retry_at_ns - now_ns) / MS_NS,
		    job->reason.text);
	else
		log_warn("job=%" PRIu64 " is tried again: %s", job->id,
		    job->reason.text);
}

void
joblog_dropped(const struct job *job, const char *why)
{
	log_warn("job=%" PRIu64
		 " producer=%s key=%s: result of %zu bytes dropped: %s",
	    job->id, job->producer->identity.name, job->key, job->result_bytes,
	    why);
}

void
joblog_buried(const struct job *job)
{
	log_info("job=%" PRIu64 " producer=%s key=%s: buried: latentctl kick "
		 "%" PRIu64 " tries it again",
	    job->id, job->producer->identity.name, job->key, job->id);
}

void
joblog_forgotten(const struct job *job, const char *why)
{
	log_warn("job=%" PRIu64 " producer=%s key=%s: failed job forgotten: %s",
	    job->id, job->producer->identity.name, job->key, why);
}
