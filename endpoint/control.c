/* SPDX-License-Identifier: Apache-2.0 */
/* The language of /control; gate.c acts on it. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "control.h"
#include "number.h"

static enum latentd_err
set_flag(const char *name, const char *value, bool *flag, struct reason *why)
{
	uint64_t n = 0;
	enum latentd_err err = number_read(name, value, 0, 1, &n, why);

	if (err == LATENTD_OK)
		*flag = n == 1;
	return err;
}

static enum latentd_err
set_parallel(struct control *c, const char *value, struct reason *why)
{
	uint64_t n = c->parallel;
	enum latentd_err err = number_read("parallel", value, 1, 1024, &n, why);

	c->parallel = (unsigned)n;
	return err;
}

/* Some settings begin something when they are set, even to the same value. */
static void
note_begin(struct control *c, const char *name)
{
	if (strcmp(name, "seed") == 0)
		c->reseed = true;
	if (strcmp(name, "die-after") == 0)
		c->redie = true;
	if (strcmp(name, "cold-ms") == 0)
		c->recold = c->cold = true;
}

enum latentd_err
control_set(
    struct control *c, const char *name, const char *value, struct reason *why)
{
	enum latentd_err err;

	if (strcmp(name, "parallel") == 0)
		return set_parallel(c, value, why);
	if (strcmp(name, "service-ms") == 0)
		return number_read(
		    name, value, 0, 3600000, &c->service_ms, why);
	if (strcmp(name, "down") == 0)
		return set_flag(name, value, &c->down, why);
	if (strcmp(name, "cold") == 0) {
		err = set_flag(name, value, &c->cold, why);
		c->recold = true;
		return err;
	}
	err = faults_set(&c->faults, name, value, why);
	if (err == LATENTD_OK)
		note_begin(c, name);
	return err;
}

struct walk {
	struct control control;
	struct reason why;
	enum latentd_err err;
	char unknown[512];
};

static bool
on_parameter(const char *name, const char *value, void *arg)
{
	struct walk *walk = arg;
	const size_t used = strlen(walk->unknown);
	struct reason why;
	enum latentd_err err;

	err =
	    control_set(&walk->control, name, value != NULL ? value : "", &why);
	if (err == LATENTD_ERR_NOT_FOUND) {
		snprintf(walk->unknown + used, sizeof(walk->unknown) - used,
		    "%s\"%.64s\"", used > 0 ? ", " : "", name);
	} else if (err != LATENTD_OK && walk->err == LATENTD_OK) {
		walk->err = err;
		walk->why = why;
	}
	return true;
}

enum latentd_err
control_read(struct control *control, const struct http_request *http,
    struct reason *why)
{
	struct walk walk = {.control = *control, .err = LATENTD_OK};

	http_query_each(http, on_parameter, &walk);
	if (walk.unknown[0] != '\0')
		return reason_set(why, LATENTD_ERR_INVALID,
		    "there is no setting %s; --help lists them", walk.unknown);
	if (walk.err != LATENTD_OK) {
		*why = walk.why;
		return walk.err;
	}
	*control = walk.control;
	return LATENTD_OK;
}

/* ---- the answer ---- */

static json_t *
integer(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *
settings_json(const struct control *c)
{
	const struct faults *f = &c->faults;
	json_t *object = json_object(), *fails = json_object();
	char name[32];
	size_t i;

	for (i = 0; i < f->fails_n; i++) {
		snprintf(name, sizeof(name), "%u", f->fails[i].status);
		json_object_set_new(fails, name, json_real(f->fails[i].rate));
	}
	json_object_set_new(object, "fail-rate", fails);
	for (i = 0; i < FAULTS; i++) {
		if (i == FAULT_FAIL)
			continue;
		snprintf(
		    name, sizeof(name), "%s-rate", faults_name((enum fault)i));
		json_object_set_new(object, name, json_real(f->rates[i]));
	}
	json_object_set_new(object, "slow-rate", json_real(f->slow_rate));
	json_object_set_new(object, "slow-factor", json_real(f->slow_factor));
	json_object_set_new(object, "seed", integer(f->seed));
	json_object_set_new(object, "retry-after", integer(f->retry_after_s));
	json_object_set_new(object, "cold-ms", integer(f->cold_ms));
	json_object_set_new(object, "stall-ms", integer(f->stall_ms));
	json_object_set_new(object, "die-after", integer(f->die_after_n));
	json_object_set_new(object, "parallel", integer(c->parallel));
	json_object_set_new(object, "service-ms", integer(c->service_ms));
	json_object_set_new(object, "down", integer(c->down));
	return object;
}

static json_t *
faults_json(const struct metrics *m)
{
	json_t *object = json_object();
	size_t i;

	for (i = 0; i < FAULTS; i++)
		json_object_set_new(object, faults_name((enum fault)i),
		    integer(m->faults_n[i]));
	json_object_set_new(object, "slow", integer(m->slow_n));
	json_object_set_new(object, "cold", integer(m->cold_n));
	json_object_set_new(object, "down", integer(m->down_n));
	return object;
}

char *
control_format(const struct control *control, const struct metrics *metrics,
    const struct tally *tally, uint64_t cold_left_ms)
{
	json_t *object = json_object();
	char *text;

	json_object_set_new(object, "settings", settings_json(control));
	json_object_set_new(object, "faults", faults_json(metrics));
	json_object_set_new(object, "cold_left_ms", integer(cold_left_ms));
	tally_add_json(tally, object);
	text = json_dumps(object, JSON_INDENT(1));
	json_decref(object);
	return text;
}
