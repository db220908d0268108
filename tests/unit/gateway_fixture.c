/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_fixture.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "lane.h"
#include "tensor.h"

/* ---- the stages ---- */

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	static struct lane lane;
	struct fixture_gateway *x = arg;

	lane.model = model;
	lane.task = task;
	return x->no_lane ? NULL : &lane;
}

static struct job_busy
on_busy(const struct producer *producer, uint64_t bytes, void *arg)
{
	struct fixture_gateway *x = arg;

	(void)bytes;
	cr_assert_not_null(producer);
	return x->busy;
}

static bool
on_accept(struct job *job, void *arg)
{
	struct fixture_gateway *x = arg;

	cr_assert_not_null(job->call);
	job_move(&x->f.jobs, job, JOB_QUEUED);
	x->jobs[x->jobs_n++] = job;
	return true;
}

static void
on_cancel(struct job *job, const struct reason *why, void *arg)
{
	struct fixture_gateway *x = arg;

	x->cancelled_n++;
	job->reason = *why;
	job->finished_ns = uv_hrtime();
	job_move(&x->f.jobs, job, JOB_CANCELLED);
	gateway_ended(x->g, job);
}

static char *
on_report(void *arg)
{
	(void)arg;
	return strdup("{\"state\": \"running\"}");
}

static char *
on_metrics(void *arg)
{
	(void)arg;
	return strdup("latentd_build_info 1\n");
}

static enum latentd_err
on_ready(struct reason *why, void *arg)
{
	struct fixture_gateway *x = arg;

	if (x->ready != LATENTD_OK)
		reason_set(why, x->ready, "nobody answers");
	return x->ready;
}

static void
on_sent(struct producer *producer, uint64_t finished_ns, bool whole, void *arg)
{
	struct fixture_gateway *x = arg;

	cr_assert_not_null(producer);
	cr_assert_neq(finished_ns, 0);
	x->sent_n++;
	x->whole_n += whole;
}

static void
on_rested(void *arg)
{
	struct fixture_gateway *x = arg;

	cr_assert_not(gateway_working(x->g));
	x->rested_n++;
}

void
fixture_gateway_open(struct fixture_gateway *x, const char *token)
{
	const struct gateway_options options = {
	    .listen = "127.0.0.1:0", .token = token, .max_body_bytes = 1 << 20};
	const struct gateway_sinks sinks = {.lane = on_lane,
	    .busy = on_busy,
	    .accept = on_accept,
	    .cancel = on_cancel,
	    .report = on_report,
	    .metrics = on_metrics,
	    .ready = on_ready,
	    .sent = on_sent,
	    .rested = on_rested,
	    .arg = x};
	struct reason why;

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	cr_assert_eq(gateway_open(&x->f.loop.uv, &x->f.jobs, &options, &sinks,
			 &x->g, &why),
	    LATENTD_OK, "%s", why.text);
}

void
fixture_gateway_close(struct fixture_gateway *x)
{
	cr_assert_eq(gateway_sending_n(x->g), 0);
	gateway_close(x->g);
	fixture_jobs_close(&x->f);
}

void
fixture_done(struct fixture_gateway *x, size_t i,
    const struct latentd_tensor *tensor, uint8_t byte)
{
	struct job *job = x->jobs[i];
	struct part *part = &job->parts[0];
	uint64_t bytes;

	cr_assert_eq(tensor_bytes(tensor, &bytes, NULL), LATENTD_OK);
	job_move(&x->f.jobs, job, JOB_ACTIVE);
	job->started_ns = job->submitted_ns + 2000000;
	job->decoded_ns = job->started_ns + 3000000;
	job->finished_ns = job->decoded_ns;
	job->attempts_n = 4;
	job->tensor = *tensor;
	part->state = PART_DONE;
	part->reply = buffer_create((size_t)bytes);
	part->file_bytes = calloc(1, sizeof(*part->file_bytes));
	cr_assert(part->reply != NULL && part->file_bytes != NULL);
	for (uint64_t n = 0; n < bytes; n++)
		buffer_append(part->reply, &byte, 1);
	part->files_n = 1;
	job->done_n = 1;
	cr_assert_eq(job_gather(&x->f.jobs, job), LATENTD_OK);
	job_move(&x->f.jobs, job, JOB_DONE);
	gateway_ended(x->g, job);
}

void
fixture_failed(
    struct fixture_gateway *x, size_t i, enum latentd_err err, long http_status)
{
	struct job *job = x->jobs[i];

	job->http_status = http_status;
	job->finished_ns = uv_hrtime();
	reason_set(&job->reason, err, "no");
	job_move(&x->f.jobs, job, JOB_FAILED);
	gateway_ended(x->g, job);
}

/* ---- the client ---- */

struct fixture_client
fixture_dial(struct fixture_gateway *x)
{
	struct fixture_client c = {.x = x};
	struct sockaddr_in to = {.sin_family = AF_INET};

	to.sin_port = htons((uint16_t)gateway_port(x->g));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c.fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(c.fd, (struct sockaddr *)&to, sizeof(to)), 0);
	c.text = calloc(1, 1);
	return c;
}

void
fixture_hang_up(struct fixture_client *c)
{
	close(c->fd);
	free(c->text);
}

/* Nobody reads while the test writes, so the loop must run now and then. */
static void
put_bytes(struct fixture_client *c, const char *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n =
		    send(c->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			data += n;
			bytes -= (size_t)n;
		} else {
			uv_run(&c->x->f.loop.uv, UV_RUN_ONCE);
		}
	}
}

void
fixture_put(struct fixture_client *c, const char *head, const void *body,
    size_t body_bytes)
{
	char text[2048];
	int n = snprintf(text, sizeof(text), "%s\r\nHost: t\r\n", head);

	if (body != NULL)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
		    "Content-Length: %zu\r\n", body_bytes);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
	put_bytes(c, text, (size_t)n);
	put_bytes(c, body, body_bytes);
}

/* Take what has come; the length of a whole reply's head, or 0. */
static size_t
look(struct fixture_client *c, size_t *body_bytes)
{
	char buf[65536];
	const char *end, *length;
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0) {
		c->text = realloc(c->text, c->bytes + (size_t)n + 1);
		cr_assert_not_null(c->text);
		memcpy(c->text + c->bytes, buf, (size_t)n);
		c->bytes += (size_t)n;
		c->text[c->bytes] = '\0';
	}
	end = memmem(c->text, c->bytes, "\r\n\r\n", 4);
	length = end != NULL ? strcasestr(c->text, "Content-Length: ") : NULL;
	if (length == NULL)
		return 0;
	*body_bytes = strtoul(length + 16, NULL, 10);
	end += 4;
	return c->bytes >= (size_t)(end - c->text) + *body_bytes
	    ? (size_t)(end - c->text)
	    : 0;
}

const char *
fixture_get(struct fixture_client *c, size_t *bytes, int status, ...)
{
	static char *reply;
	size_t head_bytes = 0, body_bytes = 0;
	const char *word;
	va_list words;

	FIXTURE_RUN_UNTIL(
	    &c->x->f.loop, (head_bytes = look(c, &body_bytes)) > 0);
	free(reply);
	reply = calloc(1, head_bytes + body_bytes + 1);
	cr_assert_not_null(reply);
	memcpy(reply, c->text, head_bytes + body_bytes);
	c->bytes -= head_bytes + body_bytes;
	memmove(c->text, c->text + head_bytes + body_bytes, c->bytes + 1);
	cr_assert_eq(strtol(reply + 9, NULL, 10), status, "%s", reply);
	va_start(words, status);
	while ((word = va_arg(words, const char *)) != NULL)
		cr_assert_not_null(
		    strcasestr(reply, word), "no %s in %s", word, reply);
	va_end(words);
	if (bytes != NULL)
		*bytes = body_bytes;
	return reply + head_bytes;
}
