/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "dispatch_fixture.h"
#include "latentd/version.h"
#include "report.h"

static struct fixture_dispatch x;

static json_t *
report(const char *state)
{
	const struct config config = {
	    .path = "a.conf", .jobs = 77, .bytes = UINT64_C(1) << 40};
	struct reason refused;
	const struct report_input input = {.jobs = &x.f.jobs,
	    .dispatch = x.d,
	    .config = &config,
	    .reload = &refused,
	    .instance = 0xabc,
	    .started_ns = uv_hrtime() - UINT64_C(5500000000),
	    .draining = strcmp(state, "draining") == 0,
	    .drain_left_ms = 4321,
	    .dropped_n = 12};
	json_error_t error;
	json_t *root;
	char *text;

	reason_set(&refused, LATENTD_ERR_INVALID, "line 3 is wrong");
	text = report_create(&input);
	cr_assert_not_null(text);
	root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(root, "%s: %s", error.text, text);
	free(text);
	return root;
}

static json_int_t
number(const json_t *root, const char *section, const char *key)
{
	const json_t *at =
	    section == NULL ? root : json_object_get(root, section);

	at = json_object_get(at, key);
	cr_assert(json_is_integer(at), "%s", key);
	return json_integer_value(at);
}

static const char *
string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	cr_assert_not_null(text, "%s", key);
	return text;
}

Test(report, an_idle_daemon_has_all_fields_and_nothing_in_them)
{
	json_t *root;

	fixture_dispatch_open(&x, 1000);
	root = report("running");
	cr_assert_str_eq(string(root, "version"), LATENTD_VERSION);
	cr_assert_str_eq(string(root, "instance"), "0000000000000abc");
	cr_assert_str_eq(string(root, "state"), "running");
	cr_assert(number(root, NULL, "uptime_s") >= 5);
	cr_assert_str_eq(
	    string(json_object_get(root, "config"), "path"), "a.conf");
	cr_assert_str_eq(string(json_object_get(root, "config"), "refused"),
	    "line 3 is wrong");
	cr_assert_eq(number(root, "queue", "jobs"), 0);
	cr_assert_eq(number(root, "queue", "jobs_max"), 77);
	cr_assert_eq(number(root, "queue", "bytes"), 0);
	cr_assert_eq(number(root, "queue", "bytes_max"), INT64_C(1) << 40);
	cr_assert_eq(number(root, "queue", "result_bytes"), 0);
	cr_assert_eq(number(root, "jobs", "kept"), 0);
	cr_assert_eq(json_array_size(json_object_get(root, "endpoints")), 0);
	cr_assert_eq(number(root, NULL, "producers_total"), 1);
	json_decref(root);
	fixture_dispatch_close(&x);
}

Test(report, jobs_are_counted_by_state_and_bytes)
{
	json_t *root;

	fixture_dispatch_open(&x, 1000);
	fixture_endpoint(&x, "gpu", "sdxl", LATENTD_DECODE, 3);
	for (int i = 0; i < 6; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	fixture_failed(&x, 0, FATE_JOB);
	fixture_cancel(&x, x.transfers[0]->job);
	fixture_turn(&x);
	root = report("draining");
	cr_assert_str_eq(string(root, "state"), "draining");
	cr_assert_eq(number(root, "drain", "jobs"), 3);
	cr_assert_eq(number(root, "drain", "results"), 3);
	cr_assert_eq(number(root, "drain", "left_ms"), 4321);
	cr_assert_eq(number(root, "jobs", "failed"), 1);
	cr_assert_eq(number(root, "jobs", "buried"), 0);
	cr_assert_eq(number(root, "jobs", "forgotten_total"), 12);
	cr_assert_eq(number(root, "queue", "jobs"), 6);
	cr_assert_eq(number(root, "queue", "bytes"), 3 * 8);
	cr_assert_eq(number(root, "queue", "result_bytes"), 3);
	cr_assert_eq(number(root, "jobs", "queued"), 0);
	cr_assert_eq(number(root, "jobs", "active"), 3);
	cr_assert_eq(number(root, "jobs", "kept"), 3);
	cr_assert_eq(number(root, "jobs", "done_total"), 1);
	cr_assert_eq(number(root, "jobs", "failed_total"), 1);
	cr_assert_eq(number(root, "jobs", "cancelled_total"), 1);
	json_decref(root);
	while (x.transfers_n > 0)
		fixture_done(&x, 0, 'b');
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(report, endpoints_tell_their_load_and_their_last_error)
{
	json_t *root, *list, *ep;

	fixture_dispatch_open(&x, 1000);
	fixture_endpoint(&x, "gpu", "sdxl", LATENTD_DECODE, 3);
	fixture_endpoint(&x, "enc", "flux", LATENTD_ENCODE, 1);
	for (int i = 0; i < 4; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	fixture_failed(&x, 0, FATE_JOB);
	fixture_turn(&x);
	root = report("running");
	list = json_object_get(root, "endpoints");
	cr_assert_eq(json_array_size(list), 2);
	ep = json_array_get(list, 0);
	cr_assert_str_eq(string(ep, "name"), "gpu");
	cr_assert_str_eq(string(ep, "model"), "sdxl");
	cr_assert_str_eq(string(ep, "task"), "decode");
	cr_assert_eq(number(ep, NULL, "parallel"), 3);
	cr_assert_eq(number(ep, NULL, "in_flight"), 2);
	cr_assert_eq(number(ep, NULL, "requests_total"), 4);
	cr_assert_eq(number(ep, NULL, "done_total"), 1);
	cr_assert_eq(number(ep, NULL, "failed_total"), 1);
	cr_assert_str_eq(string(ep, "last_error"), "part 0");
	ep = json_array_get(list, 1);
	cr_assert_str_eq(string(ep, "task"), "encode");
	cr_assert_str_eq(string(ep, "last_error"), "");
	json_decref(root);
	while (x.transfers_n > 0)
		fixture_done(&x, 0, 'b');
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

static struct producer *
hold(uint64_t uid, const char *name, const char *secret)
{
	struct producer_identity identity;
	struct producer *p;

	producer_identity(uid, (struct text){name, strlen(name)},
	    (struct text){secret, strlen(secret)}, &identity);
	p = producers_get(&x.f.jobs.producers, &identity);
	producers_hold(p);
	return p;
}

Test(report, producers_are_listed_without_their_secrets_and_keys)
{
	struct producer *a, *b;
	json_t *root, *list;
	char *text;

	fixture_dispatch_open(&x, 1000);
	a = hold(1000, "alice", "hunter2");
	b = hold(PRODUCER_NO_UID, "bob", "");
	fixture_job(&x.f, a, "private-key", 1, 0);
	job_move(&x.f.jobs, a->by_key, JOB_QUEUED);
	root = report("running");
	text = json_dumps(root, 0);
	cr_assert_null(strstr(text, "hunter2"), "%s", text);
	cr_assert_null(strstr(text, "private-key"), "%s", text);
	free(text);
	list = json_object_get(root, "producers");
	cr_assert_eq(json_array_size(list), 3);
	cr_assert_str_eq(string(json_array_get(list, 1), "name"), "alice");
	cr_assert_eq(number(json_array_get(list, 1), NULL, "uid"), 1000);
	cr_assert_eq(number(json_array_get(list, 1), NULL, "open"), 1);
	cr_assert_eq(number(json_array_get(list, 1), NULL, "kept"), 0);
	cr_assert(
	    json_is_null(json_object_get(json_array_get(list, 2), "uid")));
	json_decref(root);
	job_destroy(&x.f.jobs, a->by_key);
	producers_release(&x.f.jobs.producers, a);
	producers_release(&x.f.jobs.producers, b);
	fixture_dispatch_close(&x);
}

Test(report, the_list_of_producers_is_bounded_and_their_number_is_not)
{
	static struct producer *many[300];
	json_t *root;
	char name[16];

	fixture_dispatch_open(&x, 1000);
	for (size_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "p%zu", i);
		many[i] = hold(1, name, "");
	}
	root = report("running");
	cr_assert_eq(number(root, NULL, "producers_total"), 301);
	cr_assert_eq(json_array_size(json_object_get(root, "producers")), 256);
	json_decref(root);
	for (size_t i = 0; i < 300; i++)
		producers_release(&x.f.jobs.producers, many[i]);
	fixture_dispatch_close(&x);
}

Test(report, an_error_in_any_letters_leaves_the_report_whole)
{
	static char long_text[600];
	struct attempt attempt = {.job = NULL};
	struct endpoint *ep;
	json_t *root;

	fixture_dispatch_open(&x, 1000);
	ep = fixture_endpoint(&x, "gpu", "sdxl", LATENTD_DECODE, 3);
	for (size_t i = 0; i + 4 < sizeof(long_text); i += 3)
		memcpy(long_text + i, "\xe7\x8c\xab", 3);
	reason_set(&attempt.verdict.reason, LATENTD_ERR_ENDPOINT,
	    "\x1b[31m\xff\"\\ %s", long_text);
	endpoint_judge(ep, &attempt, true);
	root = report("running");
	cr_assert_eq(json_array_size(json_object_get(root, "endpoints")), 1);
	json_decref(root);
	fixture_dispatch_close(&x);
}
