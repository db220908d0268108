/* SPDX-License-Identifier: Apache-2.0 */
#include "fitness.h"

#include <string.h>

#include "base/clock.h"

#define BAD_ROW 3u
#define COLD_ROW 2u
/* Of the requests of late: at least so many, and such a part of them bad. */
#define SHARE_LEAST 10.0
#define SHARE_BAD 0.4
#define FADE 0.95
#define RETRY_AFTER_MOST_MS UINT64_C(600000)

void
fitness_init(struct fitness *f, uint64_t now_ns)
{
	memset(f, 0, sizeof(*f));
	f->since_ns = now_ns;
}

const char *
fitness_name(enum fitness_state state)
{
	static const char *const names[FITNESS_STATE_COUNT] = {
	    "fit", "out", "warming", "stopped"};

	return names[state];
}

bool
fitness_may_send(const struct fitness *f, uint64_t now_ns)
{
	switch (f->state) {
	case FITNESS_FIT:
		return now_ns >= f->until_ns;
	case FITNESS_OUT:
	case FITNESS_WARMING:
		return now_ns >= f->until_ns && f->trials_n == 0;
	case FITNESS_STOPPED:
	case FITNESS_STATE_COUNT:
		break;
	}
	return false;
}

bool
fitness_is_trial(const struct fitness *f)
{
	return f->state != FITNESS_FIT;
}

bool
fitness_is_sound(const struct fitness *f)
{
	double n = f->good_n + f->bad_n;

	return f->state == FITNESS_FIT && f->bad_row_n < BAD_ROW &&
	    (n < SHARE_LEAST || f->bad_n < n * SHARE_BAD);
}

uint64_t
fitness_at_ns(const struct fitness *f)
{
	return f->state == FITNESS_STOPPED ? 0 : f->until_ns;
}

void
fitness_sent(struct fitness *f, bool trial)
{
	f->trials_n += trial;
}

void
fitness_dropped(struct fitness *f, bool trial)
{
	f->trials_n -= trial;
}

static void
enter(struct fitness *f, enum fitness_state state, uint64_t now_ns)
{
	if (f->state != state)
		f->since_ns = now_ns;
	f->state = state;
	f->bad_row_n = f->cold_row_n = 0;
	f->good_n = f->bad_n = 0;
}

static void
pause_for(struct fitness *f, uint64_t first_ms, uint64_t most_ms,
    uint64_t retry_after_ms, uint64_t now_ns)
{
	uint64_t ms = first_ms;

	for (unsigned i = 0; i < f->pauses_n && ms < most_ms; i++)
		ms *= 2;
	if (ms > most_ms)
		ms = most_ms;
	if (retry_after_ms > RETRY_AFTER_MOST_MS)
		retry_after_ms = RETRY_AFTER_MOST_MS;
	if (ms < retry_after_ms)
		ms = retry_after_ms;
	f->pauses_n++;
	f->until_ns = now_ns + ms * MS_NS;
}

static void
take_out(struct fitness *f, uint64_t retry_after_ms, uint64_t now_ns)
{
	enter(f, FITNESS_OUT, now_ns);
	pause_for(f, FITNESS_OUT_FIRST_MS, FITNESS_OUT_MOST_MS, retry_after_ms,
	    now_ns);
}

static void
warm_up(struct fitness *f, uint64_t retry_after_ms, uint64_t now_ns)
{
	enter(f, FITNESS_WARMING, now_ns);
	pause_for(f, FITNESS_WARMING_FIRST_MS, FITNESS_WARMING_MOST_MS,
	    retry_after_ms, now_ns);
}

/* It asks for patience. */
static void
wait_a_little(struct fitness *f, uint64_t retry_after_ms, uint64_t now_ns)
{
	uint64_t until_ns;

	if (retry_after_ms > RETRY_AFTER_MOST_MS)
		retry_after_ms = RETRY_AFTER_MOST_MS;
	until_ns = now_ns + retry_after_ms * MS_NS;
	if (f->until_ns < until_ns)
		f->until_ns = until_ns;
}

static bool
on_good(struct fitness *f, uint64_t now_ns)
{
	bool back = f->state != FITNESS_FIT;

	f->ever_good = true;
	if (back) {
		enter(f, FITNESS_FIT, now_ns);
		f->until_ns = 0;
	}
	f->bad_row_n = f->cold_row_n = 0;
	f->good_n++;
	/* What does well shortens the next pause as a failure lengthens it, so
	 * that one that fails now and then is not away for a minute. */
	if (!back && f->pauses_n > 0)
		f->pauses_n--;
	return back;
}

static void
on_bad(
    struct fitness *f, uint64_t retry_after_ms, bool may_out, uint64_t now_ns)
{
	if (f->state == FITNESS_WARMING) {
		warm_up(f, retry_after_ms, now_ns);
		return;
	}
	if (f->state == FITNESS_OUT) {
		take_out(f, retry_after_ms, now_ns);
		return;
	}
	wait_a_little(f, retry_after_ms, now_ns);
	f->bad_row_n++;
	f->bad_n++;
	if (may_out && !fitness_is_sound(f))
		take_out(f, retry_after_ms, now_ns);
}

static void
on_cold(struct fitness *f, uint64_t retry_after_ms, uint64_t now_ns)
{
	if (f->state != FITNESS_FIT) {
		warm_up(f, retry_after_ms, now_ns);
		return;
	}
	/* What comes during a pause was sent before it, as the one that began
	 * it: a burst that was turned away together counts once. */
	if (f->ever_good && now_ns < f->until_ns) {
		wait_a_little(f, retry_after_ms, now_ns);
		return;
	}
	/* While others succeed it is load; alone it is a start. */
	if (++f->cold_row_n >= COLD_ROW || !f->ever_good)
		warm_up(f, retry_after_ms, now_ns);
	else
		wait_a_little(f, retry_after_ms, now_ns);
}

bool
fitness_ended(struct fitness *f, bool trial, enum fate fate,
    uint64_t retry_after_ms, bool may_out, uint64_t now_ns)
{
	f->trials_n -= trial;
	/* One that was sent before it stopped, or was taken out, says nothing
	 * of now. */
	if (f->state == FITNESS_STOPPED || (f->state != FITNESS_FIT && !trial))
		return false;
	f->good_n *= FADE;
	f->bad_n *= FADE;
	switch (fate) {
	case FATE_DONE:
	case FATE_JOB: /* It read the job, so it is well. */
		return on_good(f, now_ns);
	case FATE_AGAIN:
	case FATE_LATE:
		on_bad(f, retry_after_ms, may_out, now_ns);
		return false;
	case FATE_AWAY:
		/* Nobody to be spared: at once, whoever else is out. */
		take_out(f, retry_after_ms, now_ns);
		return false;
	case FATE_LOAD:
		/* Busy is not sick, but a trial that fails is no proof. */
		if (f->state == FITNESS_FIT)
			wait_a_little(f, retry_after_ms, now_ns);
		else
			on_bad(f, retry_after_ms, may_out, now_ns);
		return false;
	case FATE_COLD:
		on_cold(f, retry_after_ms, now_ns);
		return false;
	case FATE_STOP:
		enter(f, FITNESS_STOPPED, now_ns);
		return false;
	case FATE_OURS:
	case FATE_COUNT:
		break;
	}
	return false;
}

bool
fitness_absent(struct fitness *f, uint64_t now_ns)
{
	if (f->state != FITNESS_FIT)
		return false;
	take_out(f, 0, now_ns);
	return true;
}

void
fitness_resume(struct fitness *f, uint64_t now_ns)
{
	if (f->state != FITNESS_STOPPED)
		return;
	enter(f, FITNESS_OUT, now_ns);
	f->until_ns = now_ns;
	f->pauses_n = 0;
}
