/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint's fault settings and their dice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "faults.h"

#define DRAWS 20000

static struct faults faults;
static struct reason why;

static void
set(const char *name, const char *value)
{
	cr_assert_eq(
	    faults_set(&faults, name, value, &why), LATENTD_OK, "%s", why.text);
}

static void
refuse(
    const char *name, const char *value, enum latentd_err err, const char *word)
{
	struct faults before = faults;

	cr_assert_eq(
	    faults_set(&faults, name, value, &why), err, "%s=%s", name, value);
	cr_assert_not_null(strstr(why.text, word), "%s", why.text);
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): a copy */
	cr_assert_eq(memcmp(&before, &faults, sizeof(faults)), 0);
}

static void
count(size_t kinds[FAULTS + 1])
{
	struct fate fate;
	uint64_t n;

	memset(kinds, 0, sizeof(size_t) * (FAULTS + 1));
	for (n = 0; n < DRAWS; n++) {
		faults_draw(&faults, n, &fate);
		kinds[fate.fault]++;
	}
}

/* Within five standard deviations of a binomial distribution. */
static void
expect_share(size_t hits, double p)
{
	const double mean = DRAWS * p;

	cr_assert_lt(fabs((double)hits - mean), 5 * sqrt(mean * (1 - p)) + 1e-9,
	    "%zu hits, expected about %g", hits, mean);
}

Test(faults, nothing_set_means_nothing_happens)
{
	struct fate fate;
	uint64_t n;

	faults_init(&faults);
	for (n = 0; n < DRAWS; n++) {
		faults_draw(&faults, n, &fate);
		cr_assert_eq(fate.fault, FAULT_NONE);
		cr_assert(fate.slowdown <= 1 && fate.slowdown >= 1);
	}
}

Test(faults, rate_of_one_always_hits)
{
	size_t kinds[FAULTS + 1];

	faults_init(&faults);
	set("garbage-rate", "1");
	count(kinds);
	cr_assert_eq(kinds[FAULT_GARBAGE], DRAWS);
}

Test(faults, rates_hold_and_earlier_kinds_go_first)
{
	static const char *const names[] = {"--drop-rate", "fail-rate",
	    "oom-rate", "stall-rate", "truncate-rate", "--garbage-rate",
	    "wrong-size-rate"};
	size_t kinds[FAULTS + 1], i;
	double left = 1;

	faults_init(&faults);
	for (i = 0; i < FAULTS; i++)
		set(names[i], "0.1");
	count(kinds);
	for (i = 0; i < FAULTS; i++) {
		expect_share(kinds[i], left * 0.1);
		left *= 0.9;
	}
	expect_share(kinds[FAULT_NONE], left);
}

Test(faults, same_seed_and_number_give_the_same_fate)
{
	struct faults other;
	struct fate a, b;
	size_t differ = 0;
	uint64_t n;

	faults_init(&faults);
	set("seed", "7");
	set("drop-rate", "0.3");
	set("fail-rate", "0.3:503");
	set("slow-rate", "0.5:3");
	other = faults;
	for (n = 0; n < 1000; n++) {
		faults_draw(&faults, n, &a);
		faults_draw(&other, n, &b);
		cr_assert_eq(memcmp(&a.noise, &b.noise, sizeof(a.noise)), 0);
		cr_assert_eq(a.fault, b.fault);
		cr_assert_eq(a.midway, b.midway);
		cr_assert_eq(a.slowdown > 1, b.slowdown > 1);
	}
	cr_assert_eq(faults_set(&other, "seed", "8", &why), LATENTD_OK);
	for (n = 0; n < 1000; n++) {
		faults_draw(&faults, n, &a);
		faults_draw(&other, n, &b);
		differ += a.fault != b.fault;
	}
	cr_assert_gt(differ, 100);
}

Test(faults, changing_one_rate_does_not_move_the_others_dice)
{
	struct faults other;
	struct fate a, b;
	uint64_t n;

	faults_init(&faults);
	set("truncate-rate", "0.2");
	other = faults;
	cr_assert_eq(faults_set(&other, "drop-rate", "0.2", &why), LATENTD_OK);
	for (n = 0; n < DRAWS; n++) {
		faults_draw(&faults, n, &a);
		faults_draw(&other, n, &b);
		cr_assert(b.fault == FAULT_DROP || a.fault == b.fault);
	}
}

Test(faults, statuses_have_a_rate_each)
{
	size_t by_500 = 0, by_503 = 0;
	struct fate fate;
	uint64_t n;

	faults_init(&faults);
	set("fail-rate", "0.2");
	set("fail-rate", "0.5:503");
	for (n = 0; n < DRAWS; n++) {
		faults_draw(&faults, n, &fate);
		by_500 += fate.fault == FAULT_FAIL && fate.status == 500;
		by_503 += fate.fault == FAULT_FAIL && fate.status == 503;
	}
	expect_share(by_500, 0.2);
	expect_share(by_503, 0.8 * 0.5);
}

Test(faults, zero_fail_rate_without_a_status_forgets_all)
{
	size_t kinds[FAULTS + 1];

	faults_init(&faults);
	set("fail-rate", "0.5:429");
	set("fail-rate", "0.5");
	set("fail-rate", "0");
	count(kinds);
	cr_assert_eq(kinds[FAULT_NONE], DRAWS);
}

Test(faults, slowness_comes_beside_other_faults)
{
	size_t slow = 0, both = 0;
	struct fate fate;
	uint64_t n;

	faults_init(&faults);
	set("slow-rate", "0.3:2.5");
	set("stall-rate", "0.5");
	for (n = 0; n < DRAWS; n++) {
		faults_draw(&faults, n, &fate);
		if (fate.slowdown <= 1)
			continue;
		cr_assert_float_eq(fate.slowdown, 2.5, 1e-9);
		slow++;
		both += fate.fault == FAULT_STALL;
	}
	expect_share(slow, 0.3);
	expect_share(both, 0.15);
}

Test(faults, wrong_settings_are_refused_and_change_nothing)
{
	char many[32];
	int i;

	faults_init(&faults);
	refuse("drop-rate", "1.5", LATENTD_ERR_INVALID, "0 to 1");
	refuse("--drop-rate", "", LATENTD_ERR_INVALID, "--drop-rate");
	refuse("drop-rate", "nan", LATENTD_ERR_INVALID, "nan");
	refuse("drop-rate", "-0.1", LATENTD_ERR_INVALID, "-0.1");
	refuse("drop-rate", "0x1", LATENTD_ERR_INVALID, "0x1");
	refuse("fail-rate", "0.1:200", LATENTD_ERR_INVALID, "400 to 599");
	refuse("fail-rate", "0.1:", LATENTD_ERR_INVALID, "400 to 599");
	refuse("slow-rate", "0.1", LATENTD_ERR_INVALID, "P:FACTOR");
	refuse("slow-rate", "0.1:0.5", LATENTD_ERR_INVALID, "1 to 1000");
	refuse("seed", "-1", LATENTD_ERR_INVALID, "-1");
	refuse("cold-ms", "99999999999", LATENTD_ERR_INVALID, "3600000");
	refuse("fail-rates", "0.1", LATENTD_ERR_NOT_FOUND, "fail-rates");
	for (i = 0; i < FAULTS_STATUSES; i++) {
		snprintf(many, sizeof(many), "0.1:%d", 500 + i);
		set("fail-rate", many);
	}
	refuse("fail-rate", "0.1:599", LATENTD_ERR_INVALID, "no room");
}

Test(faults, noise_is_repeatable_and_no_files_beginning)
{
	unsigned char a[1000], b[1000];
	uint64_t n;

	for (n = 0; n < 256; n++) {
		faults_noise(n, a, sizeof(a));
		faults_noise(n, b, sizeof(b));
		cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
		cr_assert(a[0] != 0xff && a[0] != 0x89 && a[0] != 0);
		faults_noise(n + 1, b, sizeof(b));
		cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
	}
}
