/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl decode and encode: push all files as far as there is room, write
 * the results as they come.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ctl_save.h"
#include "ctl_wait.h"
#include "files.h"
#include "progress.h"

/* How long cancelled jobs may take to say so. */
#define CANCEL_MS 1000

struct work {
	const char *path;
	char stem[NAME_MAX + 1];
	uint64_t ticket; /* 0: not submitted */
	bool finished; /* done or failed */
};

struct run {
	struct ctl *ctl;
	struct latentd_client *client;
	struct work *works;
	size_t n;
	size_t next; /* the first that is not pushed */
	size_t done_n;
	size_t failed_n;
	int failed_status; /* what to exit with for these */
	bool full; /* the client takes no more until a result is taken */
	int64_t until_ms;
	/* Standard input is read before anything is pending, so that a signal
	 * can end the reading. */
	struct input standard;
	bool has_standard;
	/* Results of earlier jobs under the same producer: not freed while the
	 * client is open, so that the daemon keeps them. */
	struct latentd_result **foreign;
	size_t foreign_n;
};

static bool
is_standard_out(const struct ctl *ctl)
{
	return strcmp(ctl->out, FILES_STANDARD) == 0;
}

static bool
is_standard_in(const struct work *work)
{
	return strcmp(work->path, FILES_STANDARD) == 0;
}

static int
compare_stems(const void *a, const void *b)
{
	const struct work *const *x = a, *const *y = b;

	return strcmp((*x)->stem, (*y)->stem);
}

/* Two inputs must not be written to one file. */
static bool
check_stems(struct run *run)
{
	struct work **sorted = calloc(run->n, sizeof(struct work *));
	bool good = sorted != NULL;

	if (sorted == NULL) {
		ctl_error("no memory for %zu files", run->n);
		return false;
	}
	for (size_t i = 0; i < run->n; i++)
		sorted[i] = &run->works[i];
	qsort(sorted, run->n, sizeof(*sorted), compare_stems);
	for (size_t i = 1; i < run->n && good; i++) {
		if (strcmp(sorted[i - 1]->stem, sorted[i]->stem) != 0)
			continue;
		ctl_error("%s and %s would both be written to %s/%s; use a "
			  "directory for each",
		    sorted[i - 1]->path, sorted[i]->path, run->ctl->out,
		    sorted[i]->stem);
		good = false;
	}
	free(sorted);
	return good;
}

static int
read_standard(struct run *run)
{
	struct reason why;

	for (size_t i = 0; i < run->n; i++) {
		if (!is_standard_in(&run->works[i]))
			continue;
		if (input_open(FILES_STANDARD, &run->ctl->input, &run->standard,
			&why) != LATENTD_OK) {
			ctl_error("%s", why.text);
			return CTL_FAILED;
		}
		run->has_standard = true;
	}
	return CTL_DONE;
}

static int
prepare(struct run *run)
{
	struct ctl *ctl = run->ctl;
	struct reason why;

	run->n = ctl->args_n;
	if (is_standard_out(ctl) && run->n > 1) {
		ctl_error(
		    "--out - takes the result of one file, not of %zu", run->n);
		return CTL_USAGE;
	}
	run->works = calloc(run->n, sizeof(*run->works));
	if (run->works == NULL) {
		ctl_error("no memory for %zu files", run->n);
		return CTL_FAILED;
	}
	for (size_t i = 0; i < run->n; i++) {
		run->works[i].path = ctl->args[i];
		files_stem(ctl->args[i], run->works[i].stem, NAME_MAX - 32);
	}
	if (!check_stems(run))
		return CTL_USAGE;
	if (!is_standard_out(ctl) &&
	    files_make_directory(ctl->out, &why) != LATENTD_OK) {
		ctl_error("%s", why.text);
		return CTL_FAILED;
	}
	return read_standard(run);
}

static void
fail(struct run *run, struct work *work, enum latentd_err err)
{
	work->finished = true;
	run->failed_n++;
	run->failed_status = ctl_job_failed(run->failed_status, err);
}

/* Nothing is decoded that could not be written afterwards. */
static bool
is_taken(const struct run *run, const struct work *work)
{
	char name[NAME_MAX + 1];

	if (is_standard_out(run->ctl) || run->ctl->force)
		return false;
	ctl_save_name(run->ctl, work->stem, name);
	if (!files_exists(run->ctl->out, name))
		return false;
	ctl_error("%s/%s exists; --force replaces it", run->ctl->out, name);
	return true;
}

static void
without_metadata(
    const struct run *run, const struct work *work, struct input *input)
{
	size_t bytes = 0;

	for (size_t i = 0; i < input->metadata_n; i++)
		bytes += strlen(input->metadata[i].value) + 128;
	if (bytes < LATENTD_MAX_METADATA_BYTES)
		return;
	input->metadata_n = 0;
	ctl_note(run->ctl,
	    "%s: its metadata of %zu bytes is too long for the "
	    "PNG and left out",
	    work->path, bytes);
}

static enum latentd_err
open_input(struct run *run, const struct work *work, struct input *input,
    struct reason *why)
{
	if (!is_standard_in(work))
		return input_open(work->path, &run->ctl->input, input, why);
	*input = run->standard;
	run->has_standard = false;
	return LATENTD_OK;
}

/* Push one file; false when the client is full. */
static bool
push(struct run *run, struct work *work)
{
	struct latentd_request request;
	enum latentd_err err;
	struct input input;
	struct reason why;

	if (is_taken(run, work)) {
		fail(run, work, LATENTD_ERR_IO);
		return true;
	}
	if (open_input(run, work, &input, &why) != LATENTD_OK) {
		ctl_error("%s", why.text);
		fail(run, work, why.err);
		return true;
	}
	without_metadata(run, work, &input);
	ctl_request(run->ctl, &input, NULL, &request);
	if (request.model == NULL) {
		ctl_error("%s: it does not say its model, so it needs --model",
		    work->path);
		input_close(&input);
		fail(run, work, LATENTD_ERR_MODEL);
		return true;
	}
	err = latentd_submit(run->client, &request, 0, &work->ticket);
	if (err == LATENTD_ERR_BUSY && is_standard_in(work)) {
		run->standard = input;
		run->has_standard = true;
		return false;
	}
	input_close(&input);
	if (err == LATENTD_ERR_BUSY)
		return false;
	if (err != LATENTD_OK) {
		ctl_error(
		    "%s: %s", work->path, latentd_client_error(run->client));
		fail(run, work, err);
	}
	return true;
}

static struct work *
find(struct run *run, uint64_t ticket)
{
	for (size_t i = 0; i < run->n && ticket != 0; i++) {
		if (run->works[i].ticket == ticket)
			return &run->works[i];
	}
	return NULL;
}

static void
finish(struct run *run, struct work *work, const struct latentd_result *result)
{
	struct reason why = {.err = latentd_result_error(result)};

	if (why.err != LATENTD_OK)
		ctl_error("%s: %s", work->path, latentd_result_message(result));
	else if (ctl_save(run->ctl, result, work->stem, NULL, NULL, &why) !=
	    LATENTD_OK)
		ctl_error("%s: %s", work->path, why.text);
	else {
		work->finished = true;
		run->done_n++;
		return;
	}
	fail(run, work, why.err);
}

/* What was pushed last is done last, more or less. */
static void
show(const struct run *run)
{
	uint64_t position, wait_ms = 0;

	if (run->next > 0)
		latentd_job_estimate(run->client,
		    run->works[run->next - 1].ticket, &position, &wait_ms);
	progress_expect(wait_ms);
	progress_show(run->done_n, run->failed_n);
}

static void
keep_foreign(struct run *run, struct latentd_result *result)
{
	struct latentd_result **more = realloc(run->foreign,
	    (run->foreign_n + 1) * sizeof(struct latentd_result *));

	if (more == NULL)
		abort();
	run->foreign = more;
	run->foreign[run->foreign_n++] = result;
}

/* Take what is ready, and write it unless the command is being ended. */
static void
take(struct run *run, bool write)
{
	struct latentd_result *result;
	struct work *work;

	while (latentd_collect(run->client, 0, &result) == LATENTD_OK) {
		work = find(run, latentd_result_ticket(result));
		if (work == NULL) {
			keep_foreign(run, result);
			continue;
		}
		if (write)
			finish(run, work, result);
		latentd_result_free(result);
		run->full = false;
		show(run);
	}
}

static size_t
pending_n(const struct run *run)
{
	return run->next - run->done_n - run->failed_n;
}

/* Drop what is pending; a second signal ends the process meanwhile. */
static void
cancel_all(struct run *run)
{
	int64_t until_ms = ctl_now_ms() + CANCEL_MS;

	for (size_t i = 0; i < run->next; i++) {
		if (!run->works[i].finished)
			latentd_cancel(run->client, run->works[i].ticket);
	}
	while (latentd_client_pending(run->client) > 0 &&
	    ctl_wait(run->client, until_ms, true) == CTL_EVENT_RESULT)
		take(run, false);
}

static int
out_of_time(struct run *run)
{
	size_t left = run->n - run->done_n - run->failed_n;

	ctl_error("out of time after %.1f s with %zu of %zu not done",
	    (double)run->ctl->timeout_ms / 1000, left, run->n);
	cancel_all(run);
	return CTL_TIMEOUT;
}

static int
loop(struct run *run)
{
	for (;;) {
		if (ctl_interrupted()) {
			cancel_all(run);
			return CTL_INTERRUPTED;
		}
		if (run->next < run->n && !run->full) {
			run->full = !push(run, &run->works[run->next]);
			run->next += run->full ? 0 : 1;
			take(run, true);
			show(run);
			continue;
		}
		if (pending_n(run) == 0)
			return run->failed_status;
		switch (ctl_wait(run->client, run->until_ms, false)) {
		case CTL_EVENT_RESULT:
			take(run, true);
			break;
		case CTL_EVENT_TIMEOUT:
			return out_of_time(run);
		case CTL_EVENT_INTERRUPT:
			break;
		}
	}
}

int
ctl_decode(struct ctl *ctl)
{
	struct run run = {.ctl = ctl, .until_ms = -1};
	int status = prepare(&run);

	if (status == CTL_DONE)
		status = ctl_connect(ctl, NULL, 0, &run.client);
	if (status == CTL_DONE) {
		if (ctl->timeout_ms >= 0)
			run.until_ms = ctl_now_ms() + ctl->timeout_ms;
		ctl_catch_signals();
		progress_start(
		    ctl->input.task == LATENTD_DECODE ? "decode" : "encode",
		    run.n, ctl->quiet);
		status = loop(&run);
		progress_end();
		latentd_client_close(run.client);
	}
	for (size_t i = 0; i < run.foreign_n; i++)
		latentd_result_free(run.foreign[i]);
	free(run.foreign);
	if (run.has_standard)
		input_close(&run.standard);
	free(run.works);
	return status;
}
