/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "curl_uv_fixture.h"

static void
check_one(const char *path, CURLcode code, size_t bytes)
{
	struct transfer t = {.easy = NULL};

	fixture_open(2);
	fixture_start(&t, path);
	FIXTURE_RUN_UNTIL(&fix.loop, t.done_n > 0);
	cr_assert_eq(t.code, code, "%s: %s", path, curl_easy_strerror(t.code));
	cr_assert_eq(t.got_bytes, bytes);
	cr_assert_eq(t.done_n, 1);
	fixture_close(&t, 1);
}

Test(curl_uv, a_transfer_is_reported_once_with_all_its_bytes)
{
	check_one("/ok/12345", CURLE_OK, 12345);
}

Test(curl_uv, a_reply_shorter_than_promised_is_an_error)
{
	check_one("/cut", CURLE_PARTIAL_FILE, 10);
}

Test(curl_uv, a_connection_closed_without_a_reply_is_an_error)
{
	check_one("/close", CURLE_GOT_NOTHING, 0);
}

Test(curl_uv, a_refused_connection_is_an_error)
{
	struct transfer t = {.easy = NULL};

	fixture_open(2);
	/* Nobody listens there any more, and nobody else will. */
	uv_close((uv_handle_t *)&fix.server, NULL);
	uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	fixture_start(&t, "/ok/1");
	FIXTURE_RUN_UNTIL(&fix.loop, t.done_n > 0);
	cr_assert_eq(t.code, CURLE_COULDNT_CONNECT);
	curl_easy_cleanup(t.easy);
	curl_uv_close(fix.cu);
	fixture_loop_close(&fix.loop);
}

Test(curl_uv, curls_own_time_limits_work)
{
	struct transfer t[3] = {{.easy = NULL}};

	fixture_open(4);
	for (size_t i = 0; i < 3; i++) {
		t[i].easy = curl_easy_init();
		curl_easy_setopt(
		    t[i].easy, CURLOPT_TIMEOUT_MS, (long)(5 + 10 * i));
		fixture_start(&t[i], "/hold");
	}
	FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == 3);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(t[i].code, CURLE_OPERATION_TIMEDOUT);
	fixture_close(t, 3);
}

#define MANY 100

Test(curl_uv, a_hundred_transfers_at_once_all_get_their_own_reply)
{
	static struct transfer t[MANY];

	fixture_open(8);
	for (int round = 0; round < 3; round++) {
		fix.done_n = 0;
		for (size_t i = 0; i < MANY; i++) {
			char path[32];

			snprintf(path, sizeof(path), "/ok/%zu", i * i * 37);
			t[i].done_n = t[i].got_bytes = 0;
			fixture_start(&t[i], path);
		}
		FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == MANY);
		for (size_t i = 0; i < MANY; i++) {
			cr_assert_eq(t[i].code, CURLE_OK);
			cr_assert_eq(t[i].done_n, 1);
			cr_assert_eq(t[i].got_bytes, i * i * 37);
		}
	}
	fixture_close(t, MANY);
}

Test(curl_uv, stopped_transfers_are_never_reported_and_others_go_on)
{
	static struct transfer t[MANY];
	size_t i;

	fixture_open(8);
	for (i = 0; i < MANY; i++)
		fixture_start(&t[i], i % 2 == 0 ? "/hold" : "/ok/300000");
	/* Before anything was sent, while connecting, and in the middle. */
	for (i = 0; i < 20; i++)
		curl_uv_stop(fix.cu, t[i].easy);
	uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	for (; i < 40; i++)
		curl_uv_stop(fix.cu, t[i].easy);
	FIXTURE_RUN_UNTIL(&fix.loop, fix.held_n >= 30 && fix.done_n == 30);
	for (i = 40; i < MANY; i += 2)
		curl_uv_stop(fix.cu, t[i].easy);
	uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	for (i = 0; i < MANY; i++) {
		cr_assert_eq(t[i].done_n, i >= 40 && i % 2 == 1, "%zu", i);
		if (t[i].done_n > 0)
			cr_assert_eq(t[i].got_bytes, 300000);
	}
	fixture_close(t, MANY);
}

static struct transfer next;

static void
start_next(struct transfer *t)
{
	(void)t;
	fixture_start(&next, "/ok/7");
}

Test(curl_uv, the_end_of_one_transfer_may_start_another_and_itself_again)
{
	struct transfer t = {.then = start_next};

	fixture_open(1);
	fixture_start(&t, "/ok/5");
	FIXTURE_RUN_UNTIL(&fix.loop, next.done_n == 1);
	cr_assert_eq(next.got_bytes, 7);
	fixture_start(&t, "/ok/5");
	FIXTURE_RUN_UNTIL(&fix.loop, next.done_n == 2);
	cr_assert_eq(t.done_n, 2);
	curl_easy_cleanup(next.easy);
	fixture_close(&t, 1);
}

static struct transfer crowd[MANY];

/* Stop every other one, also those that are over and not yet reported. */
static void
stop_others(struct transfer *t)
{
	for (size_t i = 0; i < MANY; i++) {
		if (&crowd[i] == t || crowd[i].done_n > 0)
			continue;
		crowd[i].then = NULL;
		crowd[i].done_n = 100;
		curl_uv_stop(fix.cu, crowd[i].easy);
	}
}

Test(curl_uv, the_end_of_one_transfer_may_stop_all_others)
{
	fixture_open(8);
	for (size_t i = 0; i < MANY; i++) {
		crowd[i].then = stop_others;
		fixture_start(&crowd[i], i % 3 == 0 ? "/hold" : "/ok/10");
	}
	FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n > 0);
	for (int i = 0; i < 100; i++)
		uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	cr_assert_eq(fix.done_n, 1);
	fixture_close(crowd, MANY);
}

Test(curl_uv, it_closes_without_ever_having_done_anything)
{
	fixture_open(1);
	fixture_close(NULL, 0);
	curl_uv_close(NULL);
}

Test(curl_uv, what_it_closes_does_not_wait_for_kept_connections)
{
	struct transfer t[2] = {{.easy = NULL}};

	fixture_open(5);
	fixture_start(&t[0], "/ok/1");
	fixture_start(&t[1], "/ok/2");
	FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == 2);
	fixture_close(t, 2);
	cr_assert_eq(fix.done_n, 2);
}
