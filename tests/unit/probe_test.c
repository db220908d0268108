/* SPDX-License-Identifier: Apache-2.0 */
/* Whether endpoints answer, asked of a server in the same loop. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/curl_uv.h"
#include "base/http_uv.h"
#include "endpoint.h"
#include "loop_fixture.h"
#include "probe.h"
#include "virtual_time.h"

static struct fixture_loop loop;
static struct http_server *server;
static struct curl_uv *curl;
static struct probe *probe;
static struct endpoint endpoint;
static unsigned asked_n, status;
static char path[64], token[64];

static void
on_request(struct http_request *request, void *arg)
{
	const char *shown = http_header(request, "Authorization");

	(void)arg;
	asked_n++;
	snprintf(path, sizeof(path), "%s", http_path(request));
	snprintf(token, sizeof(token), "%s", shown != NULL ? shown : "");
	http_reply(request, status, NULL, 0, "Ok", 2, NULL, NULL);
}

/* Wait for ${condition} in virtual time, for which waiting takes none. */
#define PASS_UNTIL(condition)                                        \
	do {                                                         \
		for (unsigned i_ = 0; !(condition); i_++) {          \
			cr_assert_lt(i_, 1000000, "%s", #condition); \
			uv_run(&loop.uv, UV_RUN_NOWAIT);             \
			virtual_time_advance(VIRTUAL_MS_NS);         \
		}                                                    \
	} while (0)

static void
begin(unsigned first_status)
{
	const struct http_options options = {.listen = "127.0.0.1:0",
	    .max_body_bytes = 1,
	    .idle_timeout_s = 60,
	    .max_connections = 4,
	    .on_request = on_request};
	struct reason why;

	status = first_status;
	fixture_loop_open(&loop);
	cr_assert_eq(http_server_open(&loop.uv, &options, &server, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_not_null(curl = curl_uv_open(&loop.uv, 4));
	cr_assert_not_null(probe = probe_open(&loop.uv, curl));
	snprintf(endpoint.url, sizeof(endpoint.url), "http://127.0.0.1:%u/a/b",
	    http_server_port(server));
	fitness_init(&endpoint.fitness, uv_hrtime());
	cr_assert(probe_add(probe, &endpoint));
}

static void
finish(void)
{
	probe_close(probe);
	curl_uv_close(curl);
	http_server_close(server, NULL, NULL);
	fixture_loop_close(&loop);
}

Test(probe, endpoint_nobody_has_tried_is_asked_for_its_health)
{
	char authorization[] = "Authorization: Bearer t";

	begin(200);
	endpoint.authorization = authorization;
	probe_look(probe);
	PASS_UNTIL(endpoint.health == ENDPOINT_ANSWERS);
	cr_assert_str_eq(path, "/health");
	cr_assert_str_eq(token, "Bearer t");
	finish();
}

Test(probe, any_answer_but_a_gateways_is_one)
{
	begin(404);
	probe_look(probe);
	PASS_UNTIL(endpoint.health != ENDPOINT_UNKNOWN);
	cr_assert_eq(endpoint.health, ENDPOINT_ANSWERS);
	finish();
}

Test(probe, endpoint_that_does_not_answer_is_asked_again)
{
	begin(503);
	probe_look(probe);
	PASS_UNTIL(endpoint.health == ENDPOINT_SILENT);
	status = 200;
	PASS_UNTIL(endpoint.health == ENDPOINT_ANSWERS);
	cr_assert_eq(asked_n, 2);
	finish();
}

Test(probe, endpoint_that_answers_is_left_in_peace)
{
	begin(200);
	endpoint.health = ENDPOINT_ANSWERS;
	probe_look(probe);
	/* Had it asked, this would be the second question. */
	endpoint.health = ENDPOINT_UNKNOWN;
	probe_look(probe);
	PASS_UNTIL(endpoint.health == ENDPOINT_ANSWERS);
	cr_assert_eq(asked_n, 1);
	finish();
}

Test(probe, nobody_at_the_address_is_no_answer)
{
	begin(200);
	snprintf(endpoint.url, sizeof(endpoint.url), "http://127.0.0.1:1/x");
	probe_look(probe);
	PASS_UNTIL(endpoint.health == ENDPOINT_SILENT);
	cr_assert_eq(asked_n, 0);
	finish();
}

Test(probe, question_under_way_can_be_broken_off)
{
	begin(200);
	probe_look(probe);
	finish();
	cr_assert_eq(endpoint.health, ENDPOINT_UNKNOWN);
}

Test(probe, one_that_is_added_again_is_asked_once_and_forgotten_whole)
{
	static struct endpoint other;

	begin(200);
	other = endpoint;
	cr_assert(probe_add(probe, &endpoint));
	probe_forget(probe, &endpoint);
	cr_assert(probe_add(probe, &other));
	cr_assert(probe_add(probe, &other));
	probe_look(probe);
	PASS_UNTIL(other.health == ENDPOINT_ANSWERS);
	cr_assert_eq(asked_n, 1);
	cr_assert_eq(endpoint.health, ENDPOINT_UNKNOWN);
	finish();
}

Test(probe, attempts_tell_of_health_too)
{
	struct attempt attempt = {.verdict = {.http_status = 200}};

	endpoint_judge(&endpoint, &attempt, true);
	cr_assert_eq(endpoint.health, ENDPOINT_ANSWERS);
	attempt.verdict.reason.err = LATENTD_ERR_MEMORY;
	attempt.verdict.http_status = 0;
	endpoint_judge(&endpoint, &attempt, true);
	cr_assert_eq(endpoint.health, ENDPOINT_ANSWERS);
	attempt.verdict.reason.err = LATENTD_ERR_UNREACHABLE;
	endpoint_judge(&endpoint, &attempt, true);
	cr_assert_eq(endpoint.health, ENDPOINT_SILENT);
	attempt.verdict.reason.err = LATENTD_ERR_ENDPOINT;
	attempt.verdict.http_status = 500;
	endpoint_judge(&endpoint, &attempt, true);
	cr_assert_eq(endpoint.health, ENDPOINT_ANSWERS);
	attempt.verdict.http_status = 502;
	endpoint_judge(&endpoint, &attempt, true);
	cr_assert_eq(endpoint.health, ENDPOINT_SILENT);
}

/* ---- a path in the configuration ---- */

static void
begin_checking(unsigned first_status)
{
	begin(first_status);
	strcpy(endpoint.health_path, "/up/now");
}

Test(probe, configured_path_is_asked_again_and_again)
{
	uint64_t from_ns;

	begin_checking(200);
	from_ns = virtual_time_ns();
	probe_look(probe);
	PASS_UNTIL(asked_n == 5);
	cr_assert_str_eq(path, "/up/now");
	cr_assert_geq((virtual_time_ns() - from_ns) / VIRTUAL_MS_NS,
	    4 * (uint64_t)PROBE_EVERY_MS);
	cr_assert_eq(endpoint.health, ENDPOINT_ANSWERS);
	cr_assert_eq(endpoint.fitness.state, FITNESS_FIT);
	finish();
}

Test(probe, three_failures_in_a_row_take_the_endpoint_out)
{
	begin_checking(404);
	probe_look(probe);
	PASS_UNTIL(endpoint.fitness.state != FITNESS_FIT);
	cr_assert_eq(endpoint.fitness.state, FITNESS_OUT);
	cr_assert_eq(asked_n, ENDPOINT_CHECKS_BAD);
	cr_assert_eq(endpoint.last_error.err, LATENTD_ERR_ENDPOINT);
	cr_assert_not_null(strstr(endpoint.last_error.text, "/up/now"));
	cr_assert_not_null(strstr(endpoint.last_error.text, "HTTP 404"));
	finish();
}

Test(probe, failures_with_a_success_between_them_do_not)
{
	begin_checking(500);
	probe_look(probe);
	for (unsigned n = 1; n < 20; n++) {
		PASS_UNTIL(asked_n == n && endpoint.checks_bad_n == n % 3);
		status = n % 3 == 2 ? 200 : 500;
	}
	cr_assert_eq(endpoint.fitness.state, FITNESS_FIT);
	finish();
}

Test(probe, nobody_at_the_address_takes_the_endpoint_out_too)
{
	begin_checking(200);
	snprintf(endpoint.url, sizeof(endpoint.url), "http://127.0.0.1:1/x");
	probe_look(probe);
	PASS_UNTIL(endpoint.fitness.state == FITNESS_OUT);
	cr_assert_eq(endpoint.health, ENDPOINT_SILENT);
	cr_assert_eq(endpoint.last_error.err, LATENTD_ERR_UNREACHABLE);
	cr_assert_eq(asked_n, 0);
	finish();
}

Test(probe, one_that_is_stopped_or_out_is_not_helped_by_questions)
{
	begin_checking(200);
	endpoint.fitness.state = FITNESS_STOPPED;
	probe_look(probe);
	PASS_UNTIL(asked_n == 2);
	status = 503;
	PASS_UNTIL(asked_n == 7);
	cr_assert_eq(endpoint.fitness.state, FITNESS_STOPPED);
	finish();
}
