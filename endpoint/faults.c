/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dice are a hash of seed, request number and die, not a generator with a
 * state: the fate of the n-th request stays the same however many dice the
 * others needed.
 */
#include <math.h>
#include <string.h>

#include "faults.h"
#include "number.h"

#define COLD_MAX_MS UINT64_C(3600000)
#define SECONDS_MAX UINT64_C(86400)
#define FACTOR_MAX 1000.0

/* What is drawn for one request besides its faults' kinds and statuses. */
enum die { DIE_MIDWAY = 32, DIE_SLOW, DIE_NOISE, DIE_STATUS = 64 };

static const struct fault_row {
	const char *name;
	const char *setting;
} rows[FAULTS] = {
    [FAULT_DROP] = {"drop", "drop-rate"},
    [FAULT_FAIL] = {"fail", NULL},
    [FAULT_OOM] = {"oom", "oom-rate"},
    [FAULT_STALL] = {"stall", "stall-rate"},
    [FAULT_TRUNCATE] = {"truncate", "truncate-rate"},
    [FAULT_GARBAGE] = {"garbage", "garbage-rate"},
    [FAULT_WRONG_SIZE] = {"wrong-size", "wrong-size-rate"},
};

void
faults_init(struct faults *f)
{
	*f = (struct faults){.seed = FAULTS_SEED, .slow_factor = 1};
}

const char *
faults_name(enum fault fault)
{
	return fault < FAULTS ? rows[fault].name : "none";
}

/* ---- settings ---- */

/* Split "A:B"; ${b} is NULL without a colon. */
static enum latentd_err
split(const char *name, const char *value, char a[32], const char **b,
    struct reason *why)
{
	const size_t bytes = strcspn(value, ":");

	if (bytes >= 32)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.64s\", must begin with a number from 0 to 1",
		    name, value);
	memcpy(a, value, bytes);
	a[bytes] = '\0';
	*b = value[bytes] == ':' ? value + bytes + 1 : NULL;
	return LATENTD_OK;
}

/* The place of a status; a new one at the end, NULL when all are taken. */
static double *
fail_rate_of(struct faults *f, unsigned status)
{
	size_t i;

	for (i = 0; i < f->fails_n; i++) {
		if (f->fails[i].status == status)
			return &f->fails[i].rate;
	}
	if (f->fails_n == FAULTS_STATUSES)
		return NULL;
	f->fails[f->fails_n].status = status;
	return &f->fails[f->fails_n++].rate;
}

static enum latentd_err
set_fail(
    struct faults *f, const char *name, const char *value, struct reason *why)
{
	uint64_t status = 500;
	double rate, *place;
	const char *colon;
	char text[32];

	if (split(name, value, text, &colon, why) != LATENTD_OK ||
	    number_read_real(name, text, 0, 1, &rate, why) != LATENTD_OK ||
	    (colon != NULL &&
		number_read(name, colon, 400, 599, &status, why) != LATENTD_OK))
		return LATENTD_ERR_INVALID;
	if (colon == NULL && rate <= 0) {
		f->fails_n = 0;
		return LATENTD_OK;
	}
	place = fail_rate_of(f, (unsigned)status);
	if (place == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s has %d statuses already, no room for %s", name,
		    FAULTS_STATUSES, value);
	*place = rate;
	return LATENTD_OK;
}

static enum latentd_err
set_slow(
    struct faults *f, const char *name, const char *value, struct reason *why)
{
	const char *colon;
	double rate, factor = 1;
	char text[32];

	if (split(name, value, text, &colon, why) != LATENTD_OK ||
	    number_read_real(name, text, 0, 1, &rate, why) != LATENTD_OK)
		return LATENTD_ERR_INVALID;
	if (colon == NULL && rate > 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.64s\", must be P:FACTOR, as in 0.1:5", name,
		    value);
	if (colon != NULL &&
	    number_read_real(name, colon, 1, FACTOR_MAX, &factor, why) !=
		LATENTD_OK)
		return LATENTD_ERR_INVALID;
	f->slow_rate = rate;
	f->slow_factor = factor;
	return LATENTD_OK;
}

/* The number that a setting sets, and its largest value; NULL if it is none. */
static uint64_t *
number_of(struct faults *f, const char *setting, uint64_t *max)
{
	const struct {
		const char *name;
		uint64_t *number;
		uint64_t max;
	} numbers[] = {
	    {"seed", &f->seed, UINT64_MAX},
	    {"retry-after", &f->retry_after_s, SECONDS_MAX},
	    {"cold-ms", &f->cold_ms, COLD_MAX_MS},
	    {"stall-ms", &f->stall_ms, SECONDS_MAX * 1000},
	    {"die-after", &f->die_after_n, UINT64_MAX},
	};
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(numbers[i].name, setting) == 0) {
			*max = numbers[i].max;
			return numbers[i].number;
		}
	}
	return NULL;
}

enum latentd_err
faults_set(
    struct faults *f, const char *name, const char *value, struct reason *why)
{
	const char *setting = strncmp(name, "--", 2) == 0 ? name + 2 : name;
	uint64_t *number, max;
	size_t i;

	if (strcmp(setting, "fail-rate") == 0)
		return set_fail(f, name, value, why);
	if (strcmp(setting, "slow-rate") == 0)
		return set_slow(f, name, value, why);
	for (i = 0; i < FAULTS; i++) {
		if (rows[i].setting != NULL &&
		    strcmp(rows[i].setting, setting) == 0)
			return number_read_real(
			    name, value, 0, 1, &f->rates[i], why);
	}
	number = number_of(f, setting, &max);
	if (number == NULL)
		return reason_set(why, LATENTD_ERR_NOT_FOUND,
		    "there is no setting \"%.64s\"", name);
	return number_read(name, value, 0, max, number, why);
}

/* ---- the dice ---- */

/* splitmix64's finalizer (Steele, Lea, Flood 2014): every bit of the sum
 * changes every bit of the result half of the time. */
static uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t throw(const struct faults *f, uint64_t n, unsigned die)
{
	return mix(mix(mix(f->seed) ^ n) ^ die);
}

static bool
hits(const struct faults *f, uint64_t n, unsigned die, double rate)
{
	/* 53 bits: 0 never hits, 1 always. */
	return ldexp((double)(throw(f, n, die) >> 11), -53) < rate;
}

static bool
fail_hits(const struct faults *f, uint64_t n, unsigned *status)
{
	size_t i;

	for (i = 0; i < f->fails_n; i++) {
		*status = f->fails[i].status;
		/* A die per status, not per place: order is not luck. */
		if (hits(f, n, DIE_STATUS + *status, f->fails[i].rate))
			return true;
	}
	return false;
}

void
faults_draw(const struct faults *f, uint64_t n, struct fate *fate)
{
	unsigned kind, status = 0;

	*fate = (struct fate){.fault = FAULT_NONE, .slowdown = 1};
	fate->midway = hits(f, n, DIE_MIDWAY, 0.5);
	fate->stall_ms = f->stall_ms;
	fate->noise = throw(f, n, DIE_NOISE);
	if (hits(f, n, DIE_SLOW, f->slow_rate))
		fate->slowdown = f->slow_factor;
	for (kind = 0; kind < FAULTS; kind++) {
		if (kind == FAULT_FAIL ? fail_hits(f, n, &status)
				       : hits(f, n, kind, f->rates[kind]))
			break;
	}
	fate->fault = (enum fault)kind;
	fate->status = kind == FAULT_FAIL ? status : 0;
}

void
faults_noise(uint64_t noise, unsigned char *data, size_t bytes)
{
	uint64_t word = 0;
	size_t i;

	for (i = 0; i < bytes; i++) {
		if (i % 8 == 0)
			word = mix(noise + i / 8);
		data[i] = (unsigned char)(word >> (i % 8 * 8));
	}
	/* Neither JPEG (ff) nor PNG (89) nor a box of mp4 (00). */
	if (bytes > 0)
		data[0] = (unsigned char)((data[0] & 0x3f) | 0x40);
}
