/* SPDX-License-Identifier: Apache-2.0 */
/* What HTTP clients get, and what the daemon's stages get from them. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <criterion/criterion.h>

#include "gateway_fixture.h"
#include "tensor.h"

#define END ((const char *)NULL)
#define LATENT_BYTES 512u
#define QUERY "shape=1&shape=4&shape=8&shape=8&dtype=float16"
#define DECODE                                                        \
	"POST /sdxl?output_type=pt&partial_postprocess=True&" QUERY   \
	" HTTP/1.1\r\nContent-Type: tensor/binary\r\nAccept: tensor/" \
	"binary"

static const struct latentd_tensor pixels = {LATENTD_U8, 4, {1, 64, 64, 3}};
static char latent[LATENT_BYTES];

static struct fixture_gateway x;
static struct fixture_client c;

static void
begin(const char *token)
{
	fixture_gateway_open(&x, token);
	c = fixture_dial(&x);
}

static void
finish(void)
{
	fixture_hang_up(&c);
	fixture_gateway_close(&x);
}

static void
ask(const char *head, int status, const char *word)
{
	fixture_put(&c, head, NULL, 0);
	fixture_get(&c, NULL, status, word, END);
}

Test(gateway, health_needs_no_token_and_all_else_does)
{
	begin(FIXTURE_TOKEN);
	ask("GET /healthz HTTP/1.1", 200, "ok");
	ask("GET /readyz HTTP/1.1", 200, "ready");
	ask("GET /status HTTP/1.1", 401, "Authorization is missing");
	ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer sesamE", 401,
	    "is wrong");
	ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer sesame1", 401,
	    "WWW-Authenticate: Bearer");
	ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer ", 401, "error");
	ask("GET /nothing HTTP/1.1", 401, "error");
	ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer sesame", 200,
	    "build_info");
	ask("GET /status HTTP/1.1\r\nAuthorization: bearer sesame", 200,
	    "running");
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_get(&c, NULL, 401, "error", END);
	cr_assert_eq(x.jobs_n, 0);
	finish();
}

Test(gateway, unknown_paths_and_methods_are_named)
{
	begin(NULL);
	ask("GET /nothing HTTP/1.1", 404, "/nothing");
	ask("GET /encode/ HTTP/1.1", 404, "/encode/MODEL");
	ask("GET /sdxl HTTP/1.1", 405, "Allow: POST");
	ask("DELETE /healthz HTTP/1.1", 405, "Allow: GET, HEAD");
	fixture_put(&c, "GET /metrics HTTP/1.1", "x", 1);
	fixture_get(&c, NULL, 413, "GET of /metrics has a body", END);
	x.no_lane = true;
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_get(&c, NULL, 404, "no endpoint is configured to decode", END);
	finish();
}

Test(gateway, daemon_that_is_not_ready_says_why)
{
	begin(NULL);
	x.ready = LATENTD_ERR_UNREACHABLE;
	ask("GET /readyz HTTP/1.1", 503, "nobody answers");
	ask("GET /healthz HTTP/1.1", 200, "ok");
	finish();
}

Test(gateway, request_becomes_a_job_and_its_result_the_reply)
{
	const char *body;
	size_t bytes;

	memset(latent, 'z', sizeof(latent));
	begin(NULL);
	fixture_put(&c, DECODE "\r\nX-Latentd-Producer: painter.1", latent,
	    sizeof(latent));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 1);
	cr_assert_eq(x.jobs[0]->payload_bytes, sizeof(latent));
	cr_assert_eq(memcmp(x.jobs[0]->payload, latent, sizeof(latent)), 0);
	cr_assert_str_eq(x.jobs[0]->producer->identity.name, "painter.1");
	cr_assert_eq(x.f.jobs.input_bytes, sizeof(latent));
	fixture_done(&x, 0, &pixels, 'p');
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	cr_assert_eq(x.f.jobs.result_bytes, 64 * 64 * 3);
	body = fixture_get(&c, &bytes, 200, "Content-Type: tensor/binary\r\n",
	    "shape: [1,64,64,3]\r\n", "dtype: uint8\r\n",
	    "X-Latentd-Job: 1\r\n", "X-Latentd-Queued-Ms: 2\r\n",
	    "X-Latentd-Decode-Ms: 3\r\n", "X-Latentd-Attempts: 4\r\n", END);
	cr_assert_eq(bytes, 64 * 64 * 3);
	for (size_t i = 0; i < bytes; i++)
		cr_assert_eq(body[i], 'p');
	FIXTURE_RUN_UNTIL(&x.f.loop, x.whole_n == 1);
	cr_assert_eq(x.f.jobs.result_bytes, 0);
	/* And the connection goes on. */
	ask("GET /healthz HTTP/1.1", 200, "ok");
	finish();
}

Test(gateway, priority_and_deadline_reach_the_job)
{
	begin(NULL);
	fixture_put(&c,
	    DECODE "\r\nX-Latentd-Priority: urgent\r\n"
		   "X-Latentd-Deadline-Ms: 1500",
	    latent, sizeof(latent));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 1);
	cr_assert_eq(x.jobs[0]->class, job_class(LATENTD_URGENT));
	cr_assert_eq(x.jobs[0]->deadline_ns,
	    x.jobs[0]->submitted_ns + UINT64_C(1500000000));
	fixture_failed(&x, 0, LATENTD_ERR_EXPIRED, 0);
	fixture_get(&c, NULL, 504, "X-Latentd-Job: 1", END);
	finish();
}

Test(gateway, pipelined_requests_are_answered_in_order)
{
	begin(NULL);
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_put(&c, "GET /healthz HTTP/1.1", NULL, 0);
	fixture_put(&c, DECODE, latent, sizeof(latent));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 1);
	fixture_failed(&x, 0, LATENTD_ERR_ENDPOINT, 500);
	fixture_get(&c, NULL, 502, "X-Latentd-Job: 1", END);
	fixture_get(&c, NULL, 200, "ok", END);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 2);
	fixture_done(&x, 1, &pixels, 'p');
	fixture_get(&c, NULL, 200, "X-Latentd-Job: 2", END);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.sent_n == 1);
	finish();
}

static const struct bad {
	const char *head;
	const char *word;
} bads[] = {
    {"POST /sdxl?shape=1x&dtype=float16 HTTP/1.1", "shape is"},
    {"POST /sdxl?" QUERY "&dtype=float17 HTTP/1.1", "dtype is"},
    {"POST /sdxl?" QUERY "&do_scaling=maybe HTTP/1.1", "do_scaling is"},
    {"POST /sdxl?" QUERY "&scaling_factor=nan HTTP/1.1", "scaling_factor"},
    {"POST /sdxl?" QUERY "&output_type=gif HTTP/1.1", "output_type is"},
    {"POST /sdxl?" QUERY "&output_type=mp4 HTTP/1.1", "mp4"},
    {"POST /sdxl?" QUERY "&shape=9 HTTP/1.1", "[1,4,8,8,9]"},
    {"POST /sdxl?dtype=float16 HTTP/1.1", "shape is missing"},
    {"POST /sdxl?" QUERY "&shift_factor=1 HTTP/1.1", "shift_factor"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Producer: a b",
	"X-Latentd-Producer is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Producer: ",
	"X-Latentd-Producer is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Priority: top",
	"X-Latentd-Priority is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Deadline-Ms: 0",
	"X-Latentd-Deadline-Ms is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Deadline-Ms: 5s",
	"X-Latentd-Deadline-Ms is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nX-Latentd-Deadline-Ms: 604800001",
	"X-Latentd-Deadline-Ms is"},
    {"POST /sdxl?" QUERY " HTTP/1.1\r\nContent-Type: tensor/base64", "JSON"},
    {"POST /encode/sdxl HTTP/1.1", "PNG or JPEG"},
};

Test(gateway, what_is_wrong_gets_400_and_is_named)
{
	begin(NULL);
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		fixture_put(&c, bads[i].head, latent, sizeof(latent));
		fixture_get(&c, NULL, 400, "application/json",
		    "{\"error\":", bads[i].word, END);
		cr_assert_eq(x.f.jobs.input_bytes, 0, "%s", bads[i].head);
	}
	cr_assert_eq(x.jobs_n, 0);
	finish();
}

Test(gateway, empty_body_is_no_latent)
{
	begin(NULL);
	fixture_put(&c, DECODE, "", 0);
	fixture_get(&c, NULL, 400, "the body is empty", END);
	finish();
}

/* ${side} is that of a latent, whose zeros are "A" in base64. */
static void
ask_base64(size_t side)
{
	size_t payload_bytes = 4 * side * side * 2;
	size_t text_bytes = (payload_bytes + 2) / 3 * 4;
	const uint64_t px = side * 8;
	const struct latentd_tensor reply = {LATENTD_U8, 4, {1, px, px, 3}};
	char *json = malloc(text_bytes + 64), head[512];
	const char *body;
	size_t n, bytes;

	n = (size_t)sprintf(json, "{\"inputs\": \"");
	memset(json + n, 'A', text_bytes);
	memset(json + n + text_bytes - (3 - payload_bytes % 3) % 3, '=',
	    (3 - payload_bytes % 3) % 3);
	n += text_bytes;
	n += (size_t)sprintf(json + n, "\"}");
	snprintf(head, sizeof(head),
	    "POST /sdxl?output_type=pt&partial_postprocess=True&shape=1"
	    "&shape=4&shape=%zu&shape=%zu&dtype=float16 HTTP/1.1\r\n"
	    "Content-Type: tensor/base64\r\nAccept: tensor/base64",
	    side, side);
	fixture_put(&c, head, json, n);
	free(json);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 1);
	cr_assert_eq(x.jobs[0]->remote.accept, REMOTE_TENSOR);
	cr_assert_eq(x.jobs[0]->remote.body, REMOTE_TENSOR);
	cr_assert_eq(x.jobs[0]->payload_bytes, payload_bytes);
	cr_assert_eq(x.f.jobs.input_bytes, payload_bytes);
	fixture_done(&x, 0, &reply, 0);
	body = fixture_get(&c, &bytes, 200, "Content-Type: tensor/base64\r\n",
	    "X-Latentd-Job: 1\r\n", END);
	cr_assert_eq(body[0], '{');
	cr_assert_not_null(memmem(body, bytes, "\"inputs\"", 8));
	cr_assert_not_null(memmem(body, bytes, "\"uint8\"", 7));
	cr_assert_gt(bytes, (size_t)(px * px) * 4);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.whole_n == 1);
}

Test(gateway, base64_is_read_and_written_here)
{
	begin(NULL);
	ask_base64(8);
	cr_assert_eq(x.rested_n, 0);
	finish();
}

Test(gateway, much_base64_is_left_to_workers)
{
	begin(NULL);
	ask_base64(128);
	cr_assert_eq(x.rested_n, 2);
	finish();
}

Test(gateway, full_queue_is_503_with_a_time_before_anything_is_stored)
{
	begin(NULL);
	x.busy = (struct job_busy){"bytes", 50, 0};
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_get(&c, NULL, 503, "Retry-After: 1\r\n",
	    "the queue is full (bytes)", END);
	x.busy = (struct job_busy){"jobs", 4001, 0};
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_get(&c, NULL, 503, "Retry-After: 5\r\n", "(jobs)", END);
	x.busy = (struct job_busy){"stopping", 1000, 0};
	fixture_put(&c, DECODE, latent, sizeof(latent));
	fixture_get(&c, NULL, 503, "Retry-After: 1\r\n", "stopping", END);
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	cr_assert_eq(x.jobs_n, 0);
	finish();
}

Test(gateway, announced_body_counts_at_once_and_until_its_client_goes)
{
	begin(NULL);
	fixture_put(&c, DECODE "\r\nContent-Length: 700000", NULL, 0);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.f.jobs.input_bytes == 700000);
	fixture_hang_up(&c);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.f.jobs.input_bytes == 0);
	c = fixture_dial(&x);
	fixture_put(&c,
	    "POST /sdxl HTTP/1.1\r\nContent-Type: application/json\r\n"
	    "Content-Length: 1000",
	    NULL, 0);
	/* With what reading it will need. */
	FIXTURE_RUN_UNTIL(&x.f.loop, x.f.jobs.input_bytes == 4000);
	finish();
}

Test(gateway, larger_body_than_allowed_is_413_and_never_counts)
{
	begin(NULL);
	fixture_put(&c,
	    DECODE "\r\nExpect: 100-continue\r\nContent-Length: 1048577", NULL,
	    0);
	fixture_get(&c, NULL, 413, "1048576", END);
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	finish();
}

Test(gateway, client_that_hangs_up_has_its_job_cancelled)
{
	begin(NULL);
	fixture_put(&c, DECODE, latent, sizeof(latent));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == 1);
	fixture_hang_up(&c);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.cancelled_n == 1);
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	c = fixture_dial(&x);
	finish();
}

Test(gateway, client_that_hung_up_at_once_has_its_job_cancelled)
{
	begin(NULL);
	fixture_put(&c, DECODE, latent, sizeof(latent));
	shutdown(c.fd, SHUT_WR);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.cancelled_n == 1);
	cr_assert_eq(x.f.jobs.n, 0);
	finish();
}

static const struct failure {
	enum latentd_err err;
	long http_status;
	int status;
	const char *word;
} failures[] = {
    {LATENTD_ERR_REFUSED, 400, 400, "{\"error\":\"no\"}"},
    {LATENTD_ERR_REFUSED, 413, 413, "{\"error\":\"no\"}"},
    {LATENTD_ERR_REFUSED, 404, 502, "{\"error\":\"no\"}"},
    {LATENTD_ERR_DENIED, 401, 502, "{\"error\":\"no\"}"},
    {LATENTD_ERR_ENDPOINT, 500, 502, "X-Latentd-Attempts: 0"},
    {LATENTD_ERR_UNREACHABLE, 0, 502, "X-Latentd-Job: 6"},
    {LATENTD_ERR_TIMEOUT, 0, 504, "X-Latentd-Queued-Ms"},
    {LATENTD_ERR_EXPIRED, 0, 504, "{\"error\":\"no\"}"},
    {LATENTD_ERR_STOPPING, 0, 503, "Retry-After: 1"},
};

Test(gateway, failure_of_a_job_tells_whose_fault_it_was)
{
	begin(NULL);
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		fixture_put(&c, DECODE, latent, sizeof(latent));
		FIXTURE_RUN_UNTIL(&x.f.loop, x.jobs_n == i + 1);
		fixture_failed(&x, i, failures[i].err, failures[i].http_status);
		fixture_get(
		    &c, NULL, failures[i].status, failures[i].word, END);
	}
	cr_assert_eq(x.sent_n, 0);
	finish();
}
