/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl: the daemon from the command line.  Everything goes through
 * liblatentd; this program only reads and writes files and talks to people.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "ctl_options.h"
#include "progress.h"

#define CONNECT_MS 5000
#define ANSWER_MS 10000

void
ctl_error(const char *fmt, ...)
{
	va_list ap;

	progress_clear();
	va_start(ap, fmt);
	fputs("latentctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

void
ctl_note(const struct ctl *ctl, const char *fmt, ...)
{
	va_list ap;

	if (ctl->quiet)
		return;
	progress_clear();
	va_start(ap, fmt);
	fputs("latentctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

int64_t
ctl_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int
ctl_exit_of(enum latentd_err err)
{
	switch ((int)err) {
	case LATENTD_OK:
		return CTL_DONE;
	case LATENTD_ERR_INVALID:
		return CTL_USAGE;
	case LATENTD_ERR_UNREACHABLE:
		return CTL_UNREACHABLE;
	case LATENTD_ERR_TIMEOUT:
		return CTL_TIMEOUT;
	default:
		return CTL_FAILED;
	}
}

int
ctl_answer_ms(const struct ctl *ctl)
{
	return ctl->timeout_ms >= 0 && ctl->timeout_ms < ANSWER_MS
	    ? (int)ctl->timeout_ms
	    : ANSWER_MS;
}

int
ctl_failed(struct latentd_client *client, enum latentd_err err)
{
	ctl_error("%s", latentd_client_error(client));
	return ctl_exit_of(err);
}

int
ctl_job_failed(int status, enum latentd_err err)
{
	int of_this = err == LATENTD_ERR_EXPIRED ? CTL_TIMEOUT
	    : err == LATENTD_ERR_BUSY            ? CTL_BUSY
						 : CTL_FAILED;

	return status == CTL_DONE || status == of_this ? of_this : CTL_FAILED;
}

int
ctl_connect(const struct ctl *ctl, const char *producer, uint32_t max_jobs,
    struct latentd_client **client)
{
	struct latentd_client_options options = {
	    .url = ctl->url,
	    .producer = ctl->producer != NULL ? ctl->producer : producer,
	    .connect_timeout_ms = CONNECT_MS,
	    .max_jobs = max_jobs,
	    .software = "latentctl/" LATENTD_VERSION,
	    .secret_file = ctl->secret_file,
	    .tls = &ctl->tls,
	};
	enum latentd_err err;

	if (ctl->timeout_ms > 0 && ctl->timeout_ms < CONNECT_MS)
		options.connect_timeout_ms = (uint32_t)ctl->timeout_ms;
	err = latentd_client_open(client, &options);
	if (err != LATENTD_OK)
		ctl_error("%s", latentd_client_error(NULL));
	return ctl_exit_of(err);
}

void
ctl_request(const struct ctl *ctl, const struct input *input, const char *key,
    struct latentd_request *request)
{
	static const enum latentd_output outputs[] = {
	    [CTL_FORMAT_NONE] = LATENTD_OUT_NONE,
	    [CTL_FORMAT_PNG] = LATENTD_OUT_PNG,
	    [CTL_FORMAT_JPG] = LATENTD_OUT_JPG,
	    [CTL_FORMAT_MP4] = LATENTD_OUT_MP4,
	    [CTL_FORMAT_NPY] = LATENTD_OUT_PIXELS,
	    [CTL_FORMAT_SAFETENSORS] = LATENTD_OUT_FLOAT,
	};

	*request = (struct latentd_request){
	    .task = ctl->input.task,
	    .model = ctl->model != NULL ? ctl->model : input->model,
	    .tensor = input->tensor,
	    .data = input->data,
	    .data_bytes = input->data_bytes,
	    .space = input->space,
	    .height_px =
		ctl->height_px != 0 ? ctl->height_px : input->height_px,
	    .width_px = ctl->width_px != 0 ? ctl->width_px : input->width_px,
	    .key = key,
	    .priority = ctl->has_priority ? ctl->priority : input->priority,
	    .deadline_ms = ctl->deadline_ms,
	    .refuse_late = ctl->refuse_late,
	    .cancel_on_disconnect = ctl->cancel_on_disconnect,
	    .accept_timeout_ms = ctl->busy_timeout_ms,
	};
	if (ctl->input.task == LATENTD_ENCODE) {
		request->output = LATENTD_OUT_LATENT;
		return;
	}
	request->output = ctl->format != CTL_FORMAT_NONE ? outputs[ctl->format]
							 : input->output;
	if (request->output == LATENTD_OUT_PNG ||
	    request->output == LATENTD_OUT_NONE) {
		request->metadata = input->metadata;
		request->metadata_n = input->metadata_n;
	}
}

int
main(int argc, char **argv)
{
	int (*command)(struct ctl *);
	struct ctl ctl;
	int status = ctl_options(argc, argv, &ctl, &command);

	if (command == NULL)
		return status;
	status = command(&ctl);
	if (fflush(stdout) != 0) {
		ctl_error(
		    "cannot write to standard output: %s", strerror(errno));
		return CTL_FAILED;
	}
	return status;
}
