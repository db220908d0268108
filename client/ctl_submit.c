/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl submit: hand jobs over and return once the daemon has them.  There
 * is nothing to undo on Ctrl-C, so signals keep their usual effect: what was
 * accepted goes on, what was not never happened.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ctl.h"
#include "files.h"
#include "progress.h"

/* A client keeps what it submitted, so it is renewed from time to time. */
#define BATCH_N 256u

struct handed {
	const char *path;
	char key[LATENTD_MAX_NAME_BYTES + 1];
	uint64_t ticket; /* 0: not submitted */
};

struct submit {
	struct ctl *ctl;
	struct latentd_client *client;
	struct handed handed[BATCH_N];
	int64_t until_ms;
	size_t done_n;
	size_t failed_n;
	int failed_status; /* what to exit with for these */
	size_t spooled_n; /* of the accepted ones: on the daemon's disk */
	uint64_t position; /* of the last one that was accepted */
	uint64_t wait_ms;
};

/* "portrait-1f0a39bc42": recognisable, unique, and a name for a file. */
static bool
make_key(const char *path, char key[LATENTD_MAX_NAME_BYTES + 1])
{
	char stem[LATENTD_MAX_NAME_BYTES - 10];
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return false;
	files_stem(path, stem, sizeof(stem));
	for (char *at = stem; *at != '\0'; at++) {
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "abcdefghijklmnopqrstuvwxyz0123456789._-",
			*at) == NULL ||
		    (*at == '.' && at == stem))
			*at = '_';
	}
	snprintf(key, LATENTD_MAX_NAME_BYTES + 1, "%s-%010" PRIx64, stem,
	    random >> 24);
	return true;
}

/* The metadata of a latent that is too long must not cost the picture. */
static void
fit_metadata(const struct submit *s, const char *path, struct input *input)
{
	size_t bytes = 0;

	for (size_t i = 0; i < input->metadata_n; i++)
		bytes += strlen(input->metadata[i].value) + 128;
	if (bytes < LATENTD_MAX_METADATA_BYTES)
		return;
	input->metadata_n = 0;
	ctl_note(s->ctl,
	    "%s: its metadata of %zu bytes is too long for the "
	    "PNG and left out",
	    path, bytes);
}

static void
fail(struct submit *s, enum latentd_err err)
{
	s->failed_n++;
	s->failed_status = ctl_job_failed(s->failed_status, err);
}

/* Returns false when the client has no room for it yet. */
static bool
push(struct submit *s, struct handed *h)
{
	struct latentd_request request;
	enum latentd_err err;
	struct input input;
	struct reason why;

	h->ticket = 0;
	if (input_open(h->path, &s->ctl->input, &input, &why) != LATENTD_OK) {
		ctl_error("%s", why.text);
		fail(s, why.err);
		return true;
	}
	if (!make_key(h->path, h->key)) {
		ctl_error("no random number for a key");
		input_close(&input);
		fail(s, LATENTD_ERR_INTERNAL);
		return true;
	}
	fit_metadata(s, h->path, &input);
	ctl_request(s->ctl, &input, h->key, &request);
	if (request.model == NULL) {
		ctl_error("%s: it does not say its model, so it needs --model",
		    h->path);
		input_close(&input);
		fail(s, LATENTD_ERR_MODEL);
		return true;
	}
	err = latentd_submit(s->client, &request, 0, &h->ticket);
	input_close(&input);
	if (err == LATENTD_ERR_BUSY)
		return false;
	if (err != LATENTD_OK) {
		ctl_error("%s: %s", h->path, latentd_client_error(s->client));
		fail(s, err);
	}
	return true;
}

static int
wait_accepted(struct submit *s, const struct handed *h)
{
	int64_t left_ms = -1;
	enum latentd_durability durability = LATENTD_DURABILITY_NONE;
	enum latentd_err err;

	if (s->until_ms >= 0) {
		left_ms = s->until_ms - ctl_now_ms();
		left_ms = left_ms < 0 ? 0 : left_ms;
	}
	if (left_ms > INT_MAX)
		left_ms = INT_MAX;
	err = latentd_wait_accepted(s->client, h->ticket, (int)left_ms);
	if (err == LATENTD_OK) {
		s->done_n++;
		printf("%s\t%s\n", h->key, h->path);
		fflush(stdout);
		latentd_job_durability(s->client, h->ticket, &durability);
		s->spooled_n += durability == LATENTD_DURABILITY_SPOOLED;
		s->position = s->wait_ms = 0;
		latentd_job_estimate(
		    s->client, h->ticket, &s->position, &s->wait_ms);
		return CTL_DONE;
	}
	ctl_error("%s: %s", h->path, latentd_client_error(s->client));
	if (err == LATENTD_ERR_TIMEOUT)
		return CTL_TIMEOUT;
	fail(s, err);
	return CTL_DONE;
}

/* Hand over some files with a client of their own; ${*taken} says how many. */
static int
submit_batch(struct submit *s, char **paths, size_t n, size_t *taken)
{
	int status = ctl_connect(s->ctl, "latentctl", BATCH_N, &s->client);
	size_t pushed_n = 0;

	if (status != CTL_DONE)
		return status;
	while (pushed_n < n && pushed_n < BATCH_N) {
		s->handed[pushed_n].path = paths[pushed_n];
		if (!push(s, &s->handed[pushed_n]))
			break;
		pushed_n++;
	}
	for (size_t i = 0; i < pushed_n && status == CTL_DONE; i++) {
		if (s->handed[i].ticket != 0)
			status = wait_accepted(s, &s->handed[i]);
		progress_show(s->done_n, s->failed_n);
	}
	latentd_client_close(s->client);
	*taken = pushed_n;
	return status;
}

/* How long the last of them has to wait, where the daemon knows. */
static void
tell_estimate(const struct submit *s)
{
	if (s->done_n == 0 || s->wait_ms == 0)
		return;
	ctl_note(s->ctl, "%s behind %ju other%s, done in about %.1f s",
	    s->done_n == 1 ? "it waits" : "the last one waits",
	    (uintmax_t)s->position, s->position == 1 ? "" : "s",
	    (double)s->wait_ms / 1000);
}

/* Whether what was accepted survives the daemon.  A job that is done already
 * does not say. */
static void
tell_durability(const struct submit *s)
{
	if (s->spooled_n > 0)
		ctl_note(s->ctl, "durability: spooled");
	else if (s->done_n > 0)
		ctl_note(s->ctl, "durability: none, or done already");
}

int
ctl_submit(struct ctl *ctl)
{
	struct submit *s = calloc(1, sizeof(*s));
	size_t at = 0, taken = 0;
	int status = CTL_DONE;

	if (s == NULL) {
		ctl_error("no memory");
		return CTL_FAILED;
	}
	s->ctl = ctl;
	s->until_ms = ctl->timeout_ms < 0 ? -1 : ctl_now_ms() + ctl->timeout_ms;
	progress_start("submit", ctl->args_n, ctl->quiet);
	for (; at < ctl->args_n && status == CTL_DONE; at += taken) {
		taken = 0;
		status =
		    submit_batch(s, ctl->args + at, ctl->args_n - at, &taken);
	}
	progress_end();
	tell_estimate(s);
	tell_durability(s);
	if (status == CTL_DONE)
		status = s->failed_status;
	free(s);
	return status;
}
