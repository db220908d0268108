/* SPDX-License-Identifier: Apache-2.0 */
#include "joblog.h"

#include <inttypes.h>
#include <stdio.h>

#include <uv.h>

#include "base/clock.h"
#include "base/log.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const char *
or_dash(const char *text)
{
	return text[0] != '\0' ? text : "-";
}

void
joblog_ended(const struct job *job)
{
	uint64_t started_ns =
	    job->started_ns != 0 ? job->started_ns : job->finished_ns;
	uint64_t decoded_ns =
	    job->decoded_ns != 0 ? job->decoded_ns : job->finished_ns;
	const struct log_field fields[] = {LOG_NUMBER("job", job->id),
	    LOG_STRING("producer", job->producer->identity.name),
	    LOG_STRING("key", job->key),
	    LOG_STRING("task", task_name(job->remote.task)),
	    LOG_STRING("model", job->remote.model->name),
	    LOG_STRING("output", output_name(job->output)),
	    LOG_STRING("outcome", job_state_name(job->state)),
	    LOG_STRING("endpoint", or_dash(job->endpoint)),
	    LOG_NUMBER("http", (uint64_t)job->http_status),
	    LOG_NUMBER("queued_ms", (started_ns - job->submitted_ns) / MS_NS),
	    LOG_NUMBER("decode_ms", (decoded_ns - started_ns) / MS_NS),
	    LOG_NUMBER("finish_ms", (job->finished_ns - decoded_ns) / MS_NS),
	    LOG_NUMBER("in_bytes", job->payload_bytes),
	    LOG_NUMBER("out_bytes", job->result_bytes),
	    LOG_NUMBER("attempts", job->attempts_n),
	    LOG_STRING("reason", job->reason.text)};

	log_event(LOG_LEVEL_INFO, fields,
	    N(fields) - (job->reason.err == LATENTD_OK), NULL);
}

void
joblog_retry(const struct job *job)
{
	uint64_t now_ns = uv_hrtime();
	uint64_t wait_ms =
	    job->retry_at_ns > now_ns ? (job->retry_at_ns - now_ns) / MS_NS : 0;
	const struct log_field fields[] = {LOG_NUMBER("job", job->id),
	    LOG_STRING("producer", job->producer->identity.name),
	    LOG_STRING("key", job->key),
	    LOG_STRING("endpoint", or_dash(job->endpoint)),
	    LOG_NUMBER("wait_ms", wait_ms),
	    LOG_STRING("reason", job->reason.text)};

	log_event_often(LOG_LEVEL_WARN, fields, N(fields),
	    "a request failed; the job is tried again");
}

void
joblog_dropped(const struct job *job, const char *why)
{
	const struct log_field fields[] = {LOG_NUMBER("job", job->id),
	    LOG_STRING("producer", job->producer->identity.name),
	    LOG_STRING("key", job->key),
	    LOG_NUMBER("out_bytes", job->result_bytes),
	    LOG_STRING("reason", why)};

	log_event(LOG_LEVEL_WARN, fields, N(fields), "result dropped");
}

void
joblog_buried(const struct job *job)
{
	const struct log_field fields[] = {LOG_NUMBER("job", job->id),
	    LOG_STRING("producer", job->producer->identity.name),
	    LOG_STRING("key", job->key)};
	char message[80];

	snprintf(message, sizeof(message),
	    "buried: latentctl kick %" PRIu64 " tries it again", job->id);
	log_event(LOG_LEVEL_INFO, fields, N(fields), message);
}

void
joblog_forgotten(const struct job *job, const char *why)
{
	const struct log_field fields[] = {LOG_NUMBER("job", job->id),
	    LOG_STRING("producer", job->producer->identity.name),
	    LOG_STRING("key", job->key), LOG_STRING("reason", why)};

	log_event(LOG_LEVEL_WARN, fields, N(fields), "failed job forgotten");
}
