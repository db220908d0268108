/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that come, change and go while jobs are there. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "dispatch_fixture.h"

static struct fixture_dispatch x;

static void
open_with(const char *const *names, unsigned parallel)
{
	fixture_dispatch_open(&x, 1000);
	for (size_t i = 0; names[i] != NULL; i++)
		fixture_endpoint(
		    &x, names[i], "sdxl", LATENTD_DECODE, parallel);
}

/* Leave ${name} out of the configuration. */
static size_t
remove_endpoint(const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < x.endpoints_n; i++) {
		if (strcmp(x.endpoints[i].name, name) != 0)
			x.endpoints[n++] = x.endpoints[i];
	}
	cr_assert_lt(n, x.endpoints_n);
	x.endpoints_n = n;
	return fixture_configure(&x);
}

static size_t
transfers_at(const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < x.transfers_n; i++)
		n += strcmp(x.transfers[i]->endpoint->name, name) == 0;
	return n;
}

static void
end_all(void)
{
	while (x.transfers_n > 0 || x.finishes_n > 0) {
		if (x.transfers_n > 0)
			fixture_transferred(&x, 0);
		if (x.finishes_n > 0)
			fixture_finished(&x, 0, 1);
		fixture_turn(&x);
	}
}

static const char *const one[] = {"a", NULL};
static const char *const two[] = {"a", "b", NULL};

Test(dispatch_endpoints, one_that_is_removed_finishes_what_it_has)
{
	open_with(two, 2);
	for (int i = 0; i < 6; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(transfers_at("a"), 2);
	cr_assert_eq(transfers_at("b"), 2);
	cr_assert_eq(remove_endpoint("a"), 1);
	cr_assert_eq(dispatch_endpoints_n(x.d), 1);
	fixture_turn(&x);
	cr_assert_eq(transfers_at("a"), 2, "its requests go on");
	end_all();
	cr_assert_eq(x.ended_n, 6);
	for (size_t i = 0; i < x.ended_n; i++)
		cr_assert_eq(x.ended[i]->reason.err, LATENTD_OK);
	cr_assert_eq(x.aborted_n, 0);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, a_removed_one_gets_nothing_new)
{
	open_with(two, 1);
	remove_endpoint("a");
	for (int i = 0; i < 8; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert_eq(transfers_at("b"), 1);
	end_all();
	cr_assert_eq(x.ended_n, 8);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, a_failure_at_a_removed_one_is_tried_elsewhere)
{
	open_with(one, 1);
	fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_endpoint(&x, "b", "sdxl", LATENTD_DECODE, 1);
	remove_endpoint("a");
	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_turn(&x);
	cr_assert_eq(x.retries_n, 1);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(transfers_at("b"), 1);
	end_all();
	cr_assert_eq(x.ended_n, 1);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, one_that_stays_keeps_what_was_learned_of_it)
{
	struct endpoint *ep;

	open_with(one, 0);
	ep = dispatch_endpoint(x.d, 0);
	ep->requests_n = 7;
	ep->limit.value = 9;
	fitness_absent(&ep->fitness, 1);
	x.endpoints[0].weight = 5;
	x.endpoints[0].backup = true;
	x.endpoints[0].times.think_s = 3;
	cr_assert_eq(fixture_configure(&x), 0);
	cr_assert_eq(dispatch_endpoint(x.d, 0), ep);
	cr_assert_eq(ep->requests_n, 7);
	cr_assert_eq((int)ep->limit.value, 9);
	cr_assert_eq(ep->fitness.state, FITNESS_OUT);
	cr_assert_eq(ep->weight, 5);
	cr_assert(ep->backup);
	cr_assert_eq(ep->times.think_s, 3);
	x.endpoints[0].parallel = 3;
	fixture_configure(&x);
	cr_assert_eq(limit_now(&ep->limit), 3);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, another_url_is_another_endpoint)
{
	struct endpoint *ep;

	open_with(one, 1);
	ep = dispatch_endpoint(x.d, 0);
	ep->requests_n = 7;
	snprintf(x.endpoints[0].url, sizeof(x.endpoints[0].url), "http://b/");
	cr_assert_eq(fixture_configure(&x), 1);
	cr_assert_eq(dispatch_endpoint(x.d, 0)->requests_n, 0);
	cr_assert_eq(dispatch_lane_at(x.d, 0)->endpoints_n, 1);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, a_new_token_is_sent_and_a_missing_one_is_not)
{
	static char token[] = "new-token";
	struct endpoint *ep;

	open_with(one, 1);
	ep = dispatch_endpoint(x.d, 0);
	x.endpoints[0].token = token;
	fixture_configure(&x);
	cr_assert_str_eq(ep->authorization, "Authorization: Bearer new-token");
	x.endpoints[0].token = NULL;
	fixture_configure(&x);
	cr_assert_null(ep->authorization);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, jobs_of_a_lane_without_any_wait_until_there_is_one)
{
	const struct model *sdxl = model_find("sdxl", 4);

	open_with(one, 1);
	fixture_submit(&x, "sdxl", 1);
	fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_endpoint(&x, "flux", "flux", LATENTD_DECODE, 1);
	remove_endpoint("a");
	cr_assert_null(dispatch_lane(x.d, sdxl, LATENTD_DECODE));
	end_all();
	cr_assert_eq(x.ended_n, 1, "what was there is finished");
	fixture_endpoint(&x, "b", "sdxl", LATENTD_DECODE, 1);
	cr_assert_not_null(dispatch_lane(x.d, sdxl, LATENTD_DECODE));
	fixture_turn(&x);
	cr_assert_eq(transfers_at("b"), 1);
	end_all();
	cr_assert_eq(x.ended_n, 2);
	fixture_dispatch_close(&x);
}

Test(dispatch_endpoints, requests_of_one_removed_twice_over_all_end)
{
	open_with(one, 4);
	for (int i = 0; i < 12; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (int i = 0; i < 3; i++) {
		snprintf(x.endpoints[0].url, sizeof(x.endpoints[0].url),
		    "http://host-%d/", i);
		cr_assert_eq(fixture_configure(&x), 1);
		fixture_turn(&x);
	}
	cr_assert_eq(x.transfers_n, 12, "four at each");
	end_all();
	cr_assert_eq(x.ended_n, 12);
	fixture_dispatch_close(&x);
}
