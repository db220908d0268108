/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before anything runs: what is damaged goes where nobody stumbles over it
 * again, and the rest goes on.
 */
#include <stdlib.h>

#include "base/log.h"
#include "spool_private.h"

/* The ids of what cannot be read. */
struct damage {
	uint64_t *ids;
	size_t n;
};

static bool
on_job(
    const struct record_job *job, const struct record_state *state, void *arg)
{
	(void)job;
	(void)state;
	(void)arg;
	return true;
}

static bool
on_damaged(uint64_t id, const struct reason *why, void *arg)
{
	struct damage *d = arg;
	uint64_t *more = reallocarray(d->ids, d->n + 1, sizeof(*more));

	if (more == NULL)
		abort();
	d->ids = more;
	d->ids[d->n++] = id;
	log_error("job=%llu cannot be read from the spool and is set aside: %s",
	    (unsigned long long)id, why->text);
	return true;
}

/*
 * Put what is damaged where nobody stumbles over it again.  Its producer does
 * not know, so the daemon takes another number, at which clients submit again
 * what is not finished.
 */
static enum latentd_err
set_aside(struct spool *s, const struct damage *d, struct reason *why)
{
	uint64_t instance = s->instance + 1;
	enum store_result result;

	if (d->n == 0)
		return LATENTD_OK;
	if (store_begin(s->store, why) != STORE_OK)
		return why->err;
	result = store_put_instance(s->store, instance, why);
	for (size_t i = 0; i < d->n && result == STORE_OK; i++)
		result = store_set_aside(s->store, d->ids[i], why);
	if (result != STORE_OK) {
		store_abort(s->store);
		return why->err;
	}
	if (store_commit(s->store, why) != STORE_OK)
		return why->err;
	s->instance = instance;
	s->counts.aside_n += d->n;
	return LATENTD_OK;
}

enum latentd_err
spool_set_aside(struct spool *s, struct reason *why)
{
	struct damage damage = {.n = 0};
	const struct store_visitor visitor = {on_job, on_damaged, &damage};
	enum latentd_err err = store_read_jobs(s->store, &visitor, why);

	if (err == LATENTD_OK)
		err = set_aside(s, &damage, why);
	free(damage.ids);
	return err;
}
