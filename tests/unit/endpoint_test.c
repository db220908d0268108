/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint's parts that hold state: slots, cache, counters, options.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "admission.h"
#include "cache.h"
#include "metrics.h"
#include "options.h"

static struct reason why;

/* ---- admission ---- */

#define TURNS 8

static struct {
	uv_loop_t loop;
	struct admission *admission;
	struct turn turns[TURNS];
	size_t granted[TURNS];
	size_t released[TURNS];
	size_t granted_n;
	size_t released_n;
	bool compute_at_once;
} slots;

static void
on_granted(struct turn *turn, void *arg)
{
	cr_assert_eq(arg, &slots);
	slots.granted[slots.granted_n++] = (size_t)(turn - slots.turns);
	if (slots.compute_at_once)
		admission_computed(slots.admission, turn, true);
}

static void
on_released(struct turn *turn, void *arg)
{
	cr_assert_eq(arg, &slots);
	cr_assert_eq(turn->state, TURN_OUT);
	slots.released[slots.released_n++] = (size_t)(turn - slots.turns);
}

static void
slots_open(unsigned parallel, uint64_t service_ms)
{
	const struct admission_options options = {.parallel = parallel,
	    .service_ms = service_ms,
	    .granted = on_granted,
	    .released = on_released,
	    .arg = &slots};

	uv_loop_init(&slots.loop);
	cr_assert_eq(
	    admission_open(&slots.loop, &options, &slots.admission, &why),
	    LATENTD_OK, "%s", why.text);
}

static void
slots_close(void)
{
	admission_close(slots.admission);
	uv_run(&slots.loop, UV_RUN_DEFAULT);
	cr_assert_eq(uv_loop_close(&slots.loop), 0);
}

static void
enter(size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		admission_enter(slots.admission, &slots.turns[i]);
}

Test(admission, turns_beyond_the_slots_wait_in_order)
{
	size_t i;

	slots_open(2, 0);
	enter(5);
	cr_assert_eq(admission_active(slots.admission), 2);
	cr_assert_eq(admission_waiting(slots.admission), 3);
	for (i = 0; i < 5; i++)
		admission_computed(slots.admission, &slots.turns[i], true);
	cr_assert_eq(slots.released_n, 5);
	for (i = 0; i < 5; i++) {
		cr_assert_eq(slots.granted[i], i);
		cr_assert_eq(slots.released[i], i);
	}
	cr_assert_eq(admission_active(slots.admission), 0);
	slots_close();
}

Test(admission, work_that_is_done_at_once_does_not_recurse)
{
	slots.compute_at_once = true;
	slots_open(1, 0);
	enter(TURNS);
	cr_assert_eq(slots.released_n, TURNS);
	slots_close();
}

Test(admission, slot_is_held_until_the_service_time_is_over)
{
	uint64_t start_ns = uv_hrtime();

	slots_open(2, 30);
	enter(3);
	admission_computed(slots.admission, &slots.turns[0], true);
	admission_computed(slots.admission, &slots.turns[1], true);
	cr_assert_eq(slots.released_n, 0);
	cr_assert_eq(admission_active(slots.admission), 2);
	slots.compute_at_once = true;
	while (slots.released_n < 3)
		uv_run(&slots.loop, UV_RUN_ONCE);
	/* Never early: two rounds of 30 ms. */
	cr_assert_geq(uv_hrtime() - start_ns, UINT64_C(60000000));
	slots_close();
}

Test(admission, turn_that_takes_longer_is_released_when_computed)
{
	slots_open(1, 1);
	enter(1);
	while (slots.turns[0].state != TURN_LATE)
		uv_run(&slots.loop, UV_RUN_ONCE);
	cr_assert_eq(slots.released_n, 0);
	cr_assert_eq(admission_active(slots.admission), 1);
	admission_computed(slots.admission, &slots.turns[0], true);
	cr_assert_eq(slots.released_n, 1);
	slots_close();
}

Test(admission, failed_turn_frees_its_slot_at_once)
{
	slots_open(1, 3600000);
	enter(2);
	admission_computed(slots.admission, &slots.turns[0], false);
	cr_assert_eq(slots.released_n, 1);
	cr_assert_eq(slots.granted_n, 2);
	admission_leave(slots.admission, &slots.turns[1]);
	slots_close();
}

Test(admission, leaving_frees_a_slot_for_the_next)
{
	slots_open(1, 3600000);
	enter(3);
	admission_leave(slots.admission, &slots.turns[1]);
	cr_assert_eq(admission_waiting(slots.admission), 1);
	admission_leave(slots.admission, &slots.turns[0]);
	cr_assert_eq(slots.granted_n, 2);
	cr_assert_eq(slots.granted[1], 2);
	admission_stop(slots.admission);
	admission_leave(slots.admission, &slots.turns[2]);
	cr_assert_eq(slots.released_n, 0);
	slots_close();
}

Test(admission, slow_turn_does_not_hold_up_those_behind_it)
{
	slots_open(2, 1);
	slots.compute_at_once = true;
	slots.turns[0].slowdown = 3600000;
	enter(3);
	while (slots.released_n < 2)
		uv_run(&slots.loop, UV_RUN_ONCE);
	cr_assert_eq(slots.released[0], 1);
	cr_assert_eq(slots.released[1], 2);
	cr_assert_eq(slots.turns[0].state, TURN_SERVING);
	admission_leave(slots.admission, &slots.turns[0]);
	slots_close();
}

Test(admission, slow_turn_stretches_its_work_where_that_is_longer)
{
	slots_open(1, 0);
	slots.turns[0].slowdown = 1000000;
	enter(1);
	while (slots.turns[0].state != TURN_LATE)
		uv_run(&slots.loop, UV_RUN_NOWAIT);
	admission_computed(slots.admission, &slots.turns[0], true);
	cr_assert_eq(slots.turns[0].state, TURN_SERVING);
	cr_assert_eq(slots.released_n, 0);
	admission_leave(slots.admission, &slots.turns[0]);
	slots_close();
}

Test(admission, more_slots_are_granted_at_once_and_fewer_as_they_end)
{
	slots_open(1, 0);
	enter(5);
	admission_adjust(slots.admission, 3, 3600000);
	cr_assert_eq(slots.granted_n, 3);
	admission_adjust(slots.admission, 2, 3600000);
	admission_leave(slots.admission, &slots.turns[0]);
	cr_assert_eq(slots.granted_n, 3);
	admission_leave(slots.admission, &slots.turns[1]);
	cr_assert_eq(slots.granted_n, 4);
	admission_leave(slots.admission, &slots.turns[4]);
	admission_leave(slots.admission, &slots.turns[2]);
	admission_leave(slots.admission, &slots.turns[3]);
	slots_close();
}

/* ---- cache ---- */

static struct reply *
reply_of(const char *text)
{
	struct compute c = {.type = "text/plain"};

	c.reply = (struct blob){strdup(text), strlen(text), free};
	return reply_create(&c);
}

static struct cache_key
key_of(const char *head, const char *body)
{
	return (struct cache_key){head, strlen(head), body, strlen(body)};
}

static void
cache_put(
    struct cache *cache, const char *head, const char *body, const char *text)
{
	struct cache_key key = key_of(head, body);
	struct reply *reply = reply_of(text);

	cache_add(cache, &key, reply);
	reply_drop(reply);
}

static bool
cache_has(
    struct cache *cache, const char *head, const char *body, const char *text)
{
	struct cache_key key = key_of(head, body);
	struct reply *reply = cache_find(cache, &key);
	bool same;

	if (reply == NULL)
		return false;
	same = reply->body.bytes == strlen(text) &&
	    memcmp(reply->body.data, text, strlen(text)) == 0;
	reply_drop(reply);
	return same;
}

Test(cache, reply_is_found_by_head_and_body_only)
{
	struct cache *cache = cache_create(1 << 20);

	cache_put(cache, "/sdxl", "latent", "one");
	cache_put(cache, "/sdxl", "latenT", "two");
	cache_put(cache, "/flux", "latent", "three");
	cr_assert(cache_has(cache, "/sdxl", "latent", "one"));
	cr_assert(cache_has(cache, "/sdxl", "latenT", "two"));
	cr_assert(cache_has(cache, "/flux", "latent", "three"));
	cr_assert_not(cache_has(cache, "/sdx", "llatent", "one"));
	cr_assert_not(cache_has(cache, "/sdxl", "laten", "one"));
	cache_destroy(cache);
}

Test(cache, least_recently_used_leaves_first_and_bytes_are_bounded)
{
	struct cache *cache;
	size_t one;

	cache = cache_create(1 << 20);
	cache_put(cache, "/a", "1", "x");
	one = cache_bytes(cache);
	cache_destroy(cache);
	cache = cache_create(2 * one);
	cache_put(cache, "/a", "1", "x");
	cache_put(cache, "/b", "1", "x");
	cr_assert(cache_has(cache, "/a", "1", "x"));
	cache_put(cache, "/c", "1", "x");
	cr_assert_not(cache_has(cache, "/b", "1", "x"));
	cr_assert(cache_has(cache, "/a", "1", "x"));
	cr_assert(cache_has(cache, "/c", "1", "x"));
	cr_assert_leq(cache_bytes(cache), 2 * one);
	cache_destroy(cache);
}

Test(cache, reply_larger_than_the_cache_is_not_kept)
{
	struct cache *cache = cache_create(16);

	cache_put(cache, "/a", "1", "x");
	cr_assert_eq(cache_bytes(cache), 0);
	cr_assert_not(cache_has(cache, "/a", "1", "x"));
	cache_destroy(cache);
}

Test(cache, reply_outlives_its_entry_while_it_is_held)
{
	struct cache *cache = cache_create(1 << 20);
	struct cache_key key = key_of("/a", "1");
	struct reply *reply;

	cache_put(cache, "/a", "1", "still here");
	reply = cache_find(cache, &key);
	cache_destroy(cache);
	cr_assert_eq(memcmp(reply->body.data, "still here", 10), 0);
	reply_drop(reply);
}

/* ---- metrics ---- */

Test(metrics, every_value_has_help_and_type)
{
	struct metrics m = {.active_n = 3, .waiting_n = UINT64_MAX};
	char text[METRICS_TEXT_BYTES], lines[METRICS_TEXT_BYTES];
	char type[128], *line, *at = lines;
	size_t values = 0;

	m.request_bytes = m.reply_bytes = m.compute_ns = UINT64_MAX;
	m.cache_hits_n = m.cache_misses_n = m.cache_bytes = UINT64_MAX;
	metrics_count_reply(&m, 503);
	text[metrics_format(&m, text)] = '\0';
	cr_assert_not_null(strstr(text, "\ninf_batch_current_size 3\n"));
	cr_assert_not_null(strstr(text, "replies_total{status=\"503\"} 1\n"));
	memcpy(lines, text, sizeof(lines));
	while ((line = strsep(&at, "\n")) != NULL && *line != '\0') {
		if (line[0] == '#')
			continue;
		snprintf(type, sizeof(type), "\n# TYPE %.*s ",
		    (int)strcspn(line, "{ "), line);
		cr_assert_not_null(strstr(text, type), "%s", line);
		memcpy(type + 3, "HELP", 4);
		cr_assert(strstr(text, type) != NULL ||
			strncmp(text, type + 1, strlen(type + 1)) == 0,
		    "%s", line);
		values++;
	}
	cr_assert_geq(values, 8);
}

/* ---- options ---- */

static enum latentd_err
parse(struct options *o, const char *a, const char *b)
{
	char *argv[4] = {(char *)(uintptr_t) "latentd-endpoint",
	    (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};

	return options_parse(1 + (a != NULL) + (b != NULL), argv, o, &why);
}

Test(options, defaults_are_as_the_help_says)
{
	struct options o;

	cr_assert_eq(parse(&o, NULL, NULL), LATENTD_OK);
	cr_assert_str_eq(o.listen, "127.0.0.1:8378");
	cr_assert_eq(o.parallel, 4);
	cr_assert_eq(o.service_ms, 0);
	cr_assert_eq(o.max_body_bytes, 256u << 20);
	cr_assert_eq(o.cache_bytes, 0);
	cr_assert_eq(o.fps, 15);
	cr_assert_str_empty(o.token);
}

Test(options, value_follows_or_is_joined)
{
	struct options o;

	cr_assert_eq(parse(&o, "--parallel", "16"), LATENTD_OK);
	cr_assert_eq(o.parallel, 16);
	cr_assert_eq(parse(&o, "--service-ms=50", "--cache-mib=3"), LATENTD_OK);
	cr_assert_eq(o.service_ms, 50);
	cr_assert_eq(o.cache_bytes, 3u << 20);
	cr_assert_eq(parse(&o, "--fps=24", "--max-body-mib=1"), LATENTD_OK);
	cr_assert_eq(o.fps, 24);
	cr_assert_eq(o.max_body_bytes, 1u << 20);
}

Test(options, unknown_option_is_refused_with_the_nearest)
{
	struct options o;

	cr_assert_eq(parse(&o, "--paralel", "4"), LATENTD_ERR_INVALID);
	cr_assert_not_null(strstr(why.text, "--paralel"));
	cr_assert_not_null(strstr(why.text, "did you mean --parallel?"));
	cr_assert_eq(parse(&o, "file", NULL), LATENTD_ERR_INVALID);
}

Test(options, numbers_out_of_range_are_refused_with_the_range)
{
	static const char *const wrong[] = {"--parallel=0", "--parallel=1025",
	    "--parallel=-1", "--parallel=4x", "--parallel=", "--fps=0",
	    "--service-ms=3600001", "--max-body-mib=1025",
	    "--cache-mib=99999999999999999999", "--verbose=1"};
	struct options o;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(parse(&o, wrong[i], NULL), LATENTD_ERR_INVALID,
		    "%s", wrong[i]);
	parse(&o, "--parallel=0", NULL);
	cr_assert_not_null(strstr(why.text, "from 1 to 1024"));
	cr_assert_eq(parse(&o, "--fps", NULL), LATENTD_ERR_INVALID);
	cr_assert_not_null(strstr(why.text, "needs a value"));
}

Test(options, token_comes_from_the_first_line_of_its_file)
{
	char path[] = "/tmp/latentd-token-XXXXXX";
	struct options o;
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, "s3cret\nmore\n", 12), 12);
	close(fd);
	cr_assert_eq(parse(&o, "--token-file", path), LATENTD_OK);
	cr_assert_str_eq(o.token, "s3cret");
	unlink(path);
	cr_assert_eq(parse(&o, "--token-file", path), LATENTD_ERR_IO);
	cr_assert_eq(parse(&o, "--token", "a b"), LATENTD_ERR_INVALID);
	cr_assert_eq(parse(&o, "--token", ""), LATENTD_ERR_INVALID);
	/* What is refused is not repeated: it may be secret. */
	cr_assert_eq(parse(&o, "--token", "s3 cret"), LATENTD_ERR_INVALID);
	cr_assert_null(strstr(why.text, "cret"));
}
