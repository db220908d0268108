/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "fitness.h"
#include "fuzz.h"

#define MS_NS UINT64_C(1000000)
#define HOUR_MS 3600000u

static struct fitness f;
static uint64_t now_ns;

static void
begin(void)
{
	now_ns = 1000 * MS_NS;
	fitness_init(&f, now_ns);
}

/* A request that is sent and ends at once, ${after_ms} asked for. */
static bool
request_asking(enum fate fate, uint64_t after_ms)
{
	bool trial = fitness_is_trial(&f);

	cr_assert(fitness_may_send(&f, now_ns));
	fitness_sent(&f, trial);
	return fitness_ended(&f, trial, fate, after_ms, true, now_ns);
}

static bool
request(enum fate fate)
{
	return request_asking(fate, 0);
}

static void
requests(unsigned n, enum fate fate)
{
	while (n-- > 0)
		request(fate);
}

static uint64_t
pause_ms(void)
{
	return f.until_ns > now_ns ? (f.until_ns - now_ns) / MS_NS : 0;
}

static void
pass_pause(void)
{
	cr_assert_gt(f.until_ns, now_ns);
	now_ns = f.until_ns - 1;
	cr_assert_not(fitness_may_send(&f, now_ns));
	now_ns++;
	cr_assert(fitness_may_send(&f, now_ns));
}

/* ---- out ---- */

Test(fitness, a_new_endpoint_is_fit)
{
	begin();
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert(fitness_may_send(&f, now_ns));
	cr_assert_not(fitness_is_trial(&f));
	cr_assert(fitness_is_sound(&f));
	cr_assert_eq(fitness_at_ns(&f), 0);
}

Test(fitness, three_bad_in_a_row_take_it_out)
{
	begin();
	requests(100, FATE_DONE);
	requests(2, FATE_AGAIN);
	request(FATE_DONE);
	requests(2, FATE_AGAIN);
	cr_assert_eq(f.state, FITNESS_FIT);
	now_ns += MS_NS;
	request(FATE_AGAIN);
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert_eq(f.since_ns, now_ns);
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS);
	cr_assert_eq(fitness_at_ns(&f), f.until_ns);
}

Test(fitness, four_bad_of_ten_take_it_out)
{
	begin();
	for (unsigned i = 0; f.state == FITNESS_FIT; i++) {
		cr_assert_lt(i, 40, "half of them were bad");
		request(i % 2 == 0 ? FATE_DONE : FATE_AGAIN);
	}
	cr_assert_eq(f.state, FITNESS_OUT);
}

Test(fitness, one_bad_of_four_does_not)
{
	begin();
	for (unsigned i = 0; i < 1000; i++)
		request(i % 4 == 0 ? FATE_AGAIN : FATE_DONE);
	cr_assert_eq(f.state, FITNESS_FIT);
}

Test(fitness, what_takes_too_long_is_bad_and_a_wrong_job_is_not)
{
	begin();
	requests(100, FATE_JOB);
	cr_assert_eq(f.state, FITNESS_FIT);
	requests(3, FATE_LATE);
	cr_assert_eq(f.state, FITNESS_OUT);
}

Test(fitness, one_that_must_stay_in_stays_and_is_not_sound)
{
	begin();
	for (unsigned i = 0; i < 50; i++) {
		fitness_sent(&f, false);
		fitness_ended(&f, false, FATE_AGAIN, 0, false, now_ns);
		cr_assert_eq(fitness_is_sound(&f), i < 2);
	}
	cr_assert_eq(f.state, FITNESS_FIT);
	/* As soon as it may be taken out it is. */
	request(FATE_AGAIN);
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert_not(fitness_is_sound(&f));
}

Test(fitness, nobody_there_takes_it_out_at_once_whoever_else_is)
{
	begin();
	requests(100, FATE_DONE);
	fitness_sent(&f, false);
	fitness_ended(&f, false, FATE_AWAY, 0, false, now_ns);
	cr_assert_eq(f.state, FITNESS_OUT);
}

Test(fitness, somebody_else_may_find_that_nobody_is_there)
{
	begin();
	cr_assert(fitness_absent(&f, now_ns));
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS);
	now_ns += MS_NS;
	cr_assert_not(fitness_absent(&f, now_ns));
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS - 1);
}

Test(fitness, pauses_double_up_to_their_bound)
{
	uint64_t want_ms = FITNESS_OUT_FIRST_MS;

	begin();
	request(FATE_AWAY);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(pause_ms(), want_ms, "pause %u", i);
		want_ms *= 2;
		if (want_ms > FITNESS_OUT_MOST_MS)
			want_ms = FITNESS_OUT_MOST_MS;
		pass_pause();
		request(i % 2 == 0 ? FATE_AWAY : FATE_AGAIN);
	}
	cr_assert_eq(pause_ms(), FITNESS_OUT_MOST_MS);
}

Test(fitness, growing_pauses_are_forgotten_only_after_a_good_while)
{
	begin();
	request(FATE_AWAY);
	pass_pause();
	request(FATE_AWAY);
	pass_pause();
	request(FATE_DONE);
	cr_assert_eq(f.state, FITNESS_FIT);
	request(FATE_AWAY);
	cr_assert_eq(pause_ms(), 4 * FITNESS_OUT_FIRST_MS);
	pass_pause();
	requests(30, FATE_DONE);
	request(FATE_AWAY);
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS);
}

Test(fitness, one_trial_at_a_time)
{
	begin();
	request(FATE_AWAY);
	pass_pause();
	cr_assert(fitness_is_trial(&f));
	fitness_sent(&f, true);
	cr_assert_not(fitness_may_send(&f, now_ns + HOUR_MS * MS_NS));
	/* Broken off it says nothing; the next one may go. */
	fitness_dropped(&f, true);
	cr_assert(fitness_may_send(&f, now_ns));
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert(request(FATE_DONE));
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert_eq(f.since_ns, now_ns);
	cr_assert_eq(f.trials_n, 0);
	cr_assert(fitness_may_send(&f, now_ns));
	cr_assert_not(request(FATE_DONE));
}

Test(fitness, a_wrong_job_proves_it_well_and_a_busy_one_does_not)
{
	begin();
	request(FATE_AWAY);
	pass_pause();
	request(FATE_LOAD);
	cr_assert_eq(f.state, FITNESS_OUT);
	pass_pause();
	cr_assert(request(FATE_JOB));
	cr_assert_eq(f.state, FITNESS_FIT);
}

Test(fitness, replies_to_requests_from_before_change_nothing)
{
	for (int fate = 0; fate < FATE_COUNT; fate++) {
		struct fitness before;

		begin();
		request(FATE_AWAY);
		before = f;
		cr_assert_not(fitness_ended(
		    &f, false, (enum fate)fate, 5000, true, now_ns + MS_NS));
		cr_assert_eq(
		    f.state, before.state, "%s", fate_name((enum fate)fate));
		cr_assert_eq(f.until_ns, before.until_ns);
		cr_assert_eq(f.pauses_n, before.pauses_n);
	}
}

/* ---- patience ---- */

Test(fitness, one_that_asks_for_patience_stays_fit_and_gets_it)
{
	begin();
	request_asking(FATE_LOAD, 5000);
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert_eq(pause_ms(), 5000);
	pass_pause();
	for (unsigned i = 0; i < 100; i++)
		request(FATE_LOAD);
	cr_assert_eq(f.state, FITNESS_FIT);
}

Test(fitness, the_longest_wish_counts)
{
	begin();
	fitness_ended(&f, false, FATE_LOAD, 9000, true, now_ns);
	fitness_ended(&f, false, FATE_LOAD, 2000, true, now_ns);
	cr_assert_eq(pause_ms(), 9000);
	fitness_ended(&f, false, FATE_AGAIN, 10000, true, now_ns);
	cr_assert_eq(pause_ms(), 10000);
}

Test(fitness, wishes_are_floors_and_have_a_bound)
{
	begin();
	request_asking(FATE_AWAY, 10);
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS);
	pass_pause();
	request_asking(FATE_AGAIN, 7777);
	cr_assert_eq(pause_ms(), 7777);
	pass_pause();
	request_asking(FATE_AGAIN, UINT64_MAX);
	cr_assert_eq(pause_ms(), 600000);
	pass_pause();
	request(FATE_DONE);
	request_asking(FATE_LOAD, UINT64_MAX);
	cr_assert_eq(pause_ms(), 600000);
}

/* ---- warming ---- */

Test(fitness, one_that_never_did_anything_is_starting)
{
	begin();
	request(FATE_COLD);
	cr_assert_eq(f.state, FITNESS_WARMING);
	cr_assert_eq(pause_ms(), FITNESS_WARMING_FIRST_MS);
	cr_assert(fitness_is_trial(&f));
}

Test(fitness, one_that_sleeps_is_starting_and_one_among_successes_is_full)
{
	begin();
	request(FATE_DONE);
	request_asking(FATE_COLD, 300);
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert_eq(pause_ms(), 300);
	pass_pause();
	request(FATE_DONE);
	request_asking(FATE_COLD, 300);
	cr_assert_eq(f.state, FITNESS_FIT);
	pass_pause();
	request(FATE_COLD);
	cr_assert_eq(f.state, FITNESS_WARMING);
}

Test(fitness, a_burst_that_is_turned_away_together_is_load)
{
	begin();
	request(FATE_DONE);
	for (unsigned i = 0; i < 16; i++)
		fitness_ended(&f, false, FATE_COLD, 300 + i, true, now_ns);
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert_eq(pause_ms(), 315);
	pass_pause();
	request(FATE_DONE);
	cr_assert_eq(f.cold_row_n, 0);
}

Test(fitness, pauses_while_it_starts_have_a_lower_bound)
{
	uint64_t want_ms = FITNESS_WARMING_FIRST_MS;

	begin();
	request(FATE_COLD);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_eq(pause_ms(), want_ms, "pause %u", i);
		want_ms *= 2;
		if (want_ms > FITNESS_WARMING_MOST_MS)
			want_ms = FITNESS_WARMING_MOST_MS;
		pass_pause();
		request(i % 2 == 0 ? FATE_COLD : FATE_AGAIN);
		cr_assert_eq(f.state, FITNESS_WARMING);
	}
	pass_pause();
	request_asking(FATE_COLD, 45000);
	cr_assert_eq(pause_ms(), 45000);
	pass_pause();
	cr_assert(request(FATE_DONE));
	cr_assert_eq(f.state, FITNESS_FIT);
}

Test(fitness, out_and_warming_lead_to_each_other)
{
	begin();
	request(FATE_AWAY);
	pass_pause();
	request(FATE_COLD);
	cr_assert_eq(f.state, FITNESS_WARMING);
	pass_pause();
	request(FATE_AWAY);
	cr_assert_eq(f.state, FITNESS_OUT);
}

/* ---- stopped ---- */

Test(fitness, one_set_up_wrongly_gets_nothing_until_somebody_has_looked)
{
	begin();
	request(FATE_STOP);
	cr_assert_eq(f.state, FITNESS_STOPPED);
	cr_assert_not(fitness_may_send(&f, UINT64_MAX));
	cr_assert_eq(fitness_at_ns(&f), 0);
	cr_assert_not(fitness_absent(&f, now_ns));
	for (int fate = 0; fate < FATE_COUNT; fate++) {
		fitness_sent(&f, true);
		cr_assert_not(
		    fitness_ended(&f, true, (enum fate)fate, 0, true, now_ns));
		cr_assert_eq(f.state, FITNESS_STOPPED);
	}
	now_ns += MS_NS;
	fitness_resume(&f, now_ns);
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert(fitness_may_send(&f, now_ns));
	/* Refusals of the old token are no news. */
	fitness_ended(&f, false, FATE_STOP, 0, true, now_ns);
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert(request(FATE_DONE));
	cr_assert_eq(f.state, FITNESS_FIT);
}

Test(fitness, a_trial_may_find_it_set_up_wrongly)
{
	begin();
	request(FATE_COLD);
	pass_pause();
	request(FATE_STOP);
	cr_assert_eq(f.state, FITNESS_STOPPED);
	cr_assert_eq(f.trials_n, 0);
}

Test(fitness, resuming_what_was_not_stopped_changes_nothing)
{
	begin();
	fitness_resume(&f, now_ns);
	cr_assert_eq(f.state, FITNESS_FIT);
	request(FATE_AWAY);
	fitness_resume(&f, now_ns);
	cr_assert_eq(pause_ms(), FITNESS_OUT_FIRST_MS);
}

Test(fitness, our_own_trouble_says_nothing)
{
	begin();
	requests(50, FATE_OURS);
	cr_assert_eq(f.state, FITNESS_FIT);
	cr_assert_eq(pause_ms(), 0);
	request(FATE_AWAY);
	pass_pause();
	request(FATE_OURS);
	cr_assert_eq(f.state, FITNESS_OUT);
	cr_assert_eq(f.trials_n, 0);
	cr_assert(fitness_may_send(&f, now_ns));
}

Test(fitness, states_have_names)
{
	cr_assert_str_eq(fitness_name(FITNESS_FIT), "fit");
	cr_assert_str_eq(fitness_name(FITNESS_OUT), "out");
	cr_assert_str_eq(fitness_name(FITNESS_WARMING), "warming");
	cr_assert_str_eq(fitness_name(FITNESS_STOPPED), "stopped");
}

/* ---- storm ---- */

#define IN_FLIGHT_MAX 8

static void
check(size_t trials_n)
{
	cr_assert_eq(f.trials_n, trials_n);
	cr_assert_leq(f.trials_n, 1);
	cr_assert(f.state != FITNESS_FIT || f.trials_n == 0);
	cr_assert_leq(f.until_ns, now_ns + 600000 * MS_NS);
	cr_assert(f.good_n >= 0 && f.good_n <= 20 && f.bad_n <= 20);
	cr_assert(f.state == FITNESS_STOPPED || f.trials_n == 1 ||
	    fitness_may_send(&f, now_ns + 600000 * MS_NS));
}

Test(fitness, in_a_storm_it_is_never_stuck_and_never_tried_twice_at_a_time)
{
	struct fuzz z = {.state = 5};
	bool in_flight[IN_FLIGHT_MAX]; /* trial */
	size_t n = 0, trials_n = 0, seen_n[FITNESS_STATE_COUNT] = {0};

	begin();
	for (unsigned i = 0; i < 200000; i++) {
		size_t k = n > 0 ? fuzz_below(&z, n) : 0;

		now_ns += fuzz_below(&z, 2000) * MS_NS;
		seen_n[f.state]++;
		if (n < IN_FLIGHT_MAX && fuzz_below(&z, 2) == 0 &&
		    fitness_may_send(&f, now_ns)) {
			in_flight[n] = fitness_is_trial(&f);
			trials_n += in_flight[n];
			fitness_sent(&f, in_flight[n++]);
		} else if (n > 0) {
			bool trial = in_flight[k];

			in_flight[k] = in_flight[--n];
			trials_n -= trial;
			if (fuzz_below(&z, 10) == 0)
				fitness_dropped(&f, trial);
			else
				fitness_ended(&f, trial,
				    fuzz_below(&z, 2) == 0
					? FATE_DONE
					: (enum fate)fuzz_below(&z, FATE_COUNT),
				    fuzz_below(&z, 3) == 0
					? fuzz_below(&z, 1000000)
					: 0,
				    fuzz_below(&z, 2) == 0, now_ns);
		}
		if (f.state == FITNESS_STOPPED && fuzz_below(&z, 20) == 0)
			fitness_resume(&f, now_ns);
		if (fuzz_below(&z, 500) == 0)
			fitness_absent(&f, now_ns);
		check(trials_n);
	}
	for (int s = 0; s < FITNESS_STATE_COUNT; s++)
		cr_assert_gt(
		    seen_n[s], 1000, "%s", fitness_name((enum fitness_state)s));
}
