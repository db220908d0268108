/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots and the service time.  Most turns are held for the same time, so what
 * is granted last is nearly always due last: one list in that order and one
 * timer on its head are enough.  The timer is a timerfd and not a uv timer,
 * because a slot that is held up to a millisecond too long or too short would
 * move the capacity that benchmarks measure against by percents.
 *
 * run() is the only place that grants, so nothing recurses however short the
 * work is.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "admission.h"

#define ADMISSION_MAGIC 0x61646d69u
#define NS_PER_S 1000000000u

TAILQ_HEAD(turn_list, turn);

struct admission {
	unsigned magic;
	struct admission_options options;
	/* By state; SERVING is in order of due_ns.  OUT stays empty. */
	struct turn_list lists[TURN_STATES];
	size_t counts[TURN_STATES];
	int timer_fd;
	uv_poll_t poll;
	bool running;
	bool stopped;
};

/* The one place that changes a turn's state, its list and the counts. */
static void
turn_move(struct admission *a, struct turn *turn, enum turn_state to)
{
	if (turn->state != TURN_OUT) {
		TAILQ_REMOVE(&a->lists[turn->state], turn, link);
		a->counts[turn->state]--;
	}
	if (to != TURN_OUT) {
		TAILQ_INSERT_TAIL(&a->lists[to], turn, link);
		a->counts[to]++;
	}
	turn->state = to;
}

/* The time that a turn's slot is held when it would take ${ns}. */
static uint64_t
stretch(const struct turn *turn, uint64_t ns)
{
	if (turn->slowdown <= 1)
		return ns;
	return (uint64_t)((double)ns * turn->slowdown);
}

/* Serve a turn until ${due_ns}. */
static void
turn_serve(struct admission *a, struct turn *turn, uint64_t due_ns)
{
	struct turn *before;

	turn_move(a, turn, TURN_SERVING);
	turn->due_ns = due_ns;
	for (before = TAILQ_PREV(turn, turn_list, link);
	     before != NULL && before->due_ns > due_ns;
	     before = TAILQ_PREV(before, turn_list, link)) {
	}
	/* It is the last of the list; put it where it belongs. */
	TAILQ_REMOVE(&a->lists[TURN_SERVING], turn, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(&a->lists[TURN_SERVING], before, turn, link);
	else
		TAILQ_INSERT_HEAD(&a->lists[TURN_SERVING], turn, link);
}

static void
timer_arm(const struct admission *a)
{
	const struct turn *first = TAILQ_FIRST(&a->lists[TURN_SERVING]);
	struct itimerspec at = {{0, 0}, {0, 0}};

	if (first != NULL) {
		at.it_value.tv_sec = (time_t)(first->due_ns / NS_PER_S);
		at.it_value.tv_nsec = (long)(first->due_ns % NS_PER_S);
	}
	/* All zero disarms.  It cannot fail with these arguments. */
	timerfd_settime(a->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void
turn_release(struct admission *a, struct turn *turn)
{
	turn_move(a, turn, TURN_OUT);
	a->options.released(turn, a->options.arg);
}

static void
turns_expire(struct admission *a)
{
	const uint64_t now_ns = uv_hrtime();
	struct turn *turn;

	while ((turn = TAILQ_FIRST(&a->lists[TURN_SERVING])) != NULL &&
	    turn->due_ns <= now_ns) {
		if (turn->computed)
			turn_release(a, turn);
		else
			turn_move(a, turn, TURN_LATE);
	}
}

static void
turns_grant(struct admission *a)
{
	struct turn *turn;

	while (!a->stopped && admission_active(a) < a->options.parallel &&
	    (turn = TAILQ_FIRST(&a->lists[TURN_WAITING])) != NULL) {
		turn->granted_ns = uv_hrtime();
		turn_serve(a, turn,
		    turn->granted_ns +
			stretch(turn, a->options.service_ms * 1000000u));
		a->options.granted(turn, a->options.arg);
		/* Without a service time it may be done already. */
		turns_expire(a);
	}
}

static void
run(struct admission *a)
{
	if (a->running)
		return;
	a->running = true;
	turns_expire(a);
	turns_grant(a);
	a->running = false;
	timer_arm(a);
}

static void
on_timer(uv_poll_t *poll, int status, int events)
{
	struct admission *a = poll->data;
	uint64_t expirations;

	assert(a->magic == ADMISSION_MAGIC);
	(void)status;
	(void)events;
	/* Nothing to read when it was armed anew since it fired. */
	if (read(a->timer_fd, &expirations, sizeof(expirations)) < 0 &&
	    errno != EAGAIN)
		return;
	run(a);
}

void
admission_enter(struct admission *a, struct turn *turn)
{
	assert(a->magic == ADMISSION_MAGIC && turn->state == TURN_OUT);
	turn->computed = false;
	turn_move(a, turn, TURN_WAITING);
	run(a);
}

void
admission_adjust(struct admission *a, unsigned parallel, uint64_t service_ms)
{
	assert(parallel > 0);
	a->options.parallel = parallel;
	a->options.service_ms = service_ms;
	run(a);
}

void
admission_computed(struct admission *a, struct turn *turn, bool hold)
{
	uint64_t due_ns;

	assert(turn->state == TURN_SERVING || turn->state == TURN_LATE);
	turn->computed = true;
	/* Slow work: as if the rest of its time were work, too. */
	if (hold && turn->slowdown > 1) {
		due_ns = turn->granted_ns +
		    stretch(turn, uv_hrtime() - turn->granted_ns);
		if (due_ns > turn->due_ns)
			turn_serve(a, turn, due_ns);
	}
	if (turn->state == TURN_LATE || !hold)
		turn_release(a, turn);
	run(a);
}

void
admission_leave(struct admission *a, struct turn *turn)
{
	if (turn->state == TURN_OUT)
		return;
	turn_move(a, turn, TURN_OUT);
	if (!a->stopped)
		run(a);
}

void
admission_stop(struct admission *a)
{
	a->stopped = true;
}

size_t
admission_active(const struct admission *a)
{
	return a->counts[TURN_SERVING] + a->counts[TURN_LATE];
}

size_t
admission_waiting(const struct admission *a)
{
	return a->counts[TURN_WAITING];
}

enum latentd_err
admission_open(uv_loop_t *loop, const struct admission_options *options,
    struct admission **out, struct reason *why)
{
	struct admission *a = calloc(1, sizeof(*a));
	size_t i;

	assert(options->parallel > 0);
	if (a == NULL)
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "not enough memory to begin");
	a->magic = ADMISSION_MAGIC;
	a->options = *options;
	for (i = 0; i < TURN_STATES; i++)
		TAILQ_INIT(&a->lists[i]);
	/* uv_hrtime() reads this clock, too. */
	a->timer_fd =
	    timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (a->timer_fd < 0) {
		reason_set(
		    why, LATENTD_ERR_IO, "no timer: %s", strerror(errno));
		goto free_admission;
	}
	if (uv_poll_init(loop, &a->poll, a->timer_fd) != 0) {
		reason_set(why, LATENTD_ERR_IO, "cannot watch a timer");
		goto close_timer;
	}
	a->poll.data = a;
	uv_poll_start(&a->poll, UV_READABLE, on_timer);
	*out = a;
	return LATENTD_OK;

close_timer:
	close(a->timer_fd);
free_admission:
	free(a);
	return LATENTD_ERR_IO;
}

static void
on_closed(uv_handle_t *handle)
{
	struct admission *a = handle->data;

	close(a->timer_fd);
	a->magic = 0;
	free(a);
}

void
admission_close(struct admission *a)
{
	if (a == NULL)
		return;
	assert(a->magic == ADMISSION_MAGIC);
	assert(admission_active(a) == 0 && admission_waiting(a) == 0);
	uv_close((uv_handle_t *)&a->poll, on_closed);
}
