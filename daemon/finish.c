/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs on uv's worker pool, but for what is done at once.  A worker touches its own attempt and reads only
 * what ingress fixed in the job: expectation, output, metadata.
 */
#include "finish.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/png_write.h"
#include "endpoint.h"

/* Files up to this are checked sooner than a worker would wake up.  A JPEG's
 * pixels are only searched for markers; of a PNG every byte is summed up. */
#define INLINE_BYTES ((size_t)64 * 1024)
#define INLINE_JPEG_BYTES ((size_t)512 * 1024)

struct finish {
	uv_work_t work;
	struct attempt *attempt;
	void (*on_done)(struct attempt *, void *);
	void *arg;
};

static void
fail(struct attempt *a, enum latentd_err err, const char *text)
{
	a->verdict.fate = err == LATENTD_ERR_MEMORY ? FATE_OURS : FATE_AGAIN;
	reason_set(&a->verdict.reason, err, "endpoint %s: %s",
	    a->endpoint->name, text);
}

/* The job's metadata, as PNG text; ingress has checked that it parses. */
static size_t
read_metadata(const struct job *job, struct png_text *texts)
{
	const uint8_t *at = job->metadata;
	const uint8_t *end = at + job->metadata_bytes;
	size_t n = 0;

	while (at < end && n < LATENTD_MAX_METADATA_N) {
		struct text key, value;

		if (metadata_next(&at, end, &key, &value, NULL) != LATENTD_OK)
			break;
		texts[n++] =
		    (struct png_text){key.at, key.bytes, value.at, value.bytes};
	}
	return n;
}

static bool
on_png(const void *data, size_t bytes, void *arg)
{
	return buffer_append(arg, data, bytes);
}

/* Replace raw pixels, [N,H,W,3], by N PNG files behind each other. */
static enum latentd_err
write_pngs(struct attempt *a)
{
	const struct job *job = a->job;
	struct png_text texts[LATENTD_MAX_METADATA_N];
	size_t texts_n = read_metadata(job, texts);
	struct png_pixels image = {.height_px = (uint32_t)a->tensor.shape[1],
	    .width_px = (uint32_t)a->tensor.shape[2],
	    .channels_n = 3,
	    .bits = 8};
	size_t image_bytes;
	size_t files_n = (size_t)a->tensor.shape[0], start;
	struct buffer *files;

	image.stride_bytes = (size_t)image.width_px * 3;
	image_bytes = image.stride_bytes * image.height_px;
	a->file_bytes = calloc(files_n, sizeof(*a->file_bytes));
	files = buffer_create(image_bytes * files_n / 2);
	if (a->file_bytes == NULL || files == NULL)
		goto free_files;
	for (size_t i = 0; i < files_n; i++) {
		start = files->bytes;
		image.at = a->reply->at + i * image_bytes;
		if (!png_write(&image, texts, texts_n, on_png, files))
			goto free_files;
		a->file_bytes[i] = files->bytes - start;
	}
	a->files_n = files_n;
	buffer_fit(files);
	buffer_destroy(a->reply);
	a->reply = files;
	a->tensor.ndim = 0;
	return LATENTD_OK;

free_files:
	buffer_destroy(files);
	return LATENTD_ERR_MEMORY;
}

static void
check(struct attempt *a)
{
	struct reason why = {.err = LATENTD_OK};

	if (remote_check_body(&a->job->expect, a->reply->at, a->reply->bytes,
		&why) != LATENTD_OK) {
		fail(a, LATENTD_ERR_ENDPOINT, why.text);
		return;
	}
	if (a->job->output == LATENTD_OUT_PNG && a->tensor.ndim > 0) {
		if (write_pngs(a) != LATENTD_OK)
			fail(a, LATENTD_ERR_MEMORY,
			    "no memory to write the PNG");
		return;
	}
	a->file_bytes = malloc(sizeof(*a->file_bytes));
	if (a->file_bytes == NULL) {
		fail(a, LATENTD_ERR_MEMORY, "no memory for the reply");
		return;
	}
	a->file_bytes[0] = a->reply->bytes;
	a->files_n = 1;
}

static void
on_work(uv_work_t *work)
{
	struct finish *f = work->data;

	check(f->attempt);
}

/* Whether there is hardly anything to do: of a tensor nothing is looked at. */
static bool
is_quick(const struct attempt *a)
{
	if (a->tensor.ndim > 0)
		return a->job->output != LATENTD_OUT_PNG;
	return a->reply->bytes <= (a->job->expect.type == REMOTE_JPEG
					  ? INLINE_JPEG_BYTES
					  : INLINE_BYTES);
}

static void
on_after_work(uv_work_t *work, int status)
{
	struct finish *f = work->data;
	struct attempt *a = f->attempt;
	void (*done)(struct attempt *, void *) = f->on_done;
	void *arg = f->arg;

	(void)status;
	free(f);
	a->stage = NULL;
	done(a, arg);
}

void
finish_start(uv_loop_t *loop, struct attempt *attempt,
    void (*on_done)(struct attempt *, void *), void *arg)
{
	struct finish *f;
	int rv;

	if (is_quick(attempt)) {
		check(attempt);
		on_done(attempt, arg);
		return;
	}
	f = calloc(1, sizeof(*f));
	/* Of this size, memory that is out ends the program. */
	if (f == NULL)
		abort();
	f->attempt = attempt;
	f->on_done = on_done;
	f->arg = arg;
	f->work.data = f;
	attempt->stage = f;
	rv = uv_queue_work(loop, &f->work, on_work, on_after_work);
	assert(rv == 0);
}
