/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of latentctl share. */
#ifndef CLIENT_CTL_H
#define CLIENT_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "input.h"
#include "latentd/client.h"
#include "reason.h"

enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1, /* some files or jobs failed */
	CTL_USAGE = 2,
	CTL_UNREACHABLE = 3,
	CTL_TIMEOUT = 4, /* also of jobs: all that failed were late */
	CTL_BUSY = 5, /* all that failed were refused by a busy daemon */
	CTL_INTERRUPTED = 130,
};

enum ctl_format {
	CTL_FORMAT_NONE = 0,
	CTL_FORMAT_PNG,
	CTL_FORMAT_JPG,
	CTL_FORMAT_MP4,
	CTL_FORMAT_NPY,
	CTL_FORMAT_SAFETENSORS,
};

/* The command line, taken apart by ctl_options.c. */
struct ctl {
	const char *url;
	const char *producer;
	const char *secret_file;
	struct latentd_tls tls;
	int64_t timeout_ms; /* -1: none */
	bool quiet;
	const char *model;
	const char *out;
	enum ctl_format format;
	struct input_options input;
	uint32_t width_px;
	uint32_t height_px;
	bool force;
	bool all;
	int64_t wait_ms;
	bool json;
	/* As in struct latentd_request. */
	bool has_priority;
	enum latentd_priority priority;
	uint64_t deadline_ms;
	bool refuse_late;
	bool cancel_on_disconnect;
	uint32_t busy_timeout_ms;
	const char *state; /* jobs: only those; NULL: all */
	const char *events; /* watch: NULL: as STATUS says */
	bool once; /* top: one picture */
	bool no_wait; /* drain: do not wait for its end */
	char **args; /* files, keys or ids */
	size_t args_n;
};

/* The commands: one function each, returning the exit status. */
int ctl_decode(struct ctl *ctl);
int ctl_submit(struct ctl *ctl);
int ctl_collect(struct ctl *ctl);
int ctl_status(struct ctl *ctl);
int ctl_cancel(struct ctl *ctl);
int ctl_jobs(struct ctl *ctl);
int ctl_why(struct ctl *ctl);
int ctl_kick(struct ctl *ctl);
int ctl_purge(struct ctl *ctl);
int ctl_pause(struct ctl *ctl);
int ctl_resume(struct ctl *ctl);
int ctl_drain(struct ctl *ctl);
int ctl_reload(struct ctl *ctl);
int ctl_top(struct ctl *ctl);
int ctl_watch(struct ctl *ctl);
int ctl_spool(struct ctl *ctl);

/* ctl_error(fmt, ...): one line on standard error, "latentctl: ...".
 * ctl_note(ctl, fmt, ...): the same, unless --quiet. */
void ctl_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void ctl_note(const struct ctl *ctl, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * ctl_connect(ctl, producer, max_jobs, client):
 * Open a client; ${producer} (NULL: anonymous) where --producer is not given.
 * Returns CTL_DONE, or the exit status after saying why.
 */
int ctl_connect(const struct ctl *ctl, const char *producer, uint32_t max_jobs,
    struct latentd_client **client);

/* ctl_answer_ms(ctl): how long one answer of the daemon may take. */
int ctl_answer_ms(const struct ctl *ctl);

/* ctl_failed(client, err): say why the latest call failed, and what to exit
 * with. */
int ctl_failed(struct latentd_client *client, enum latentd_err err);

/* ctl_exit_of(err): the exit status that fits an error of the library. */
int ctl_exit_of(enum latentd_err err);

/* ctl_job_failed(status, err): the exit status of a command, ${status} so far,
 * one of whose jobs or files failed with ${err}. */
int ctl_job_failed(int status, enum latentd_err err);

/* ctl_request(ctl, input, key, request): what to do with ${input}. */
void ctl_request(const struct ctl *ctl, const struct input *input,
    const char *key, struct latentd_request *request);

/* ctl_now_ms(): milliseconds on a clock that never jumps. */
int64_t ctl_now_ms(void);

#endif
