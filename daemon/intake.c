/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pure: from a SUBMIT to the requests an endpoint understands.  What a
 * producer may ask for and what an endpoint can do meet here and nowhere
 * else.
 */
#include "intake.h"

#include <string.h>

#include <uv.h>

#include "base/clock.h"
#include "base/png_write.h"
#include "tensor.h"

static enum latentd_err
read_metadata(struct intake *in, struct reason *why)
{
	const uint8_t *at = in->metadata, *end = at + in->metadata_bytes;
	size_t n = 0;

	if (in->metadata_bytes == 0)
		return LATENTD_OK;
	if (in->output != LATENTD_OUT_PNG)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "metadata can only be written into png output, not %s",
		    output_name(in->output));
	for (;; n++) {
		struct text key, value;
		enum latentd_err err =
		    metadata_next(&at, end, &key, &value, why);

		if (err != LATENTD_OK)
			return err;
		if (key.at == NULL)
			return LATENTD_OK;
		if (n == LATENTD_MAX_METADATA_N)
			return reason_set(why, LATENTD_ERR_TOO_LARGE,
			    "metadata has more than %u entries",
			    LATENTD_MAX_METADATA_N);
		if (!png_text_key_valid(key.at, key.bytes) ||
		    !png_text_value_valid(value.at, value.bytes))
			return reason_set(why, LATENTD_ERR_INVALID,
			    "metadata entry \"%.*s\" is not allowed as PNG "
			    "text: the key must be printable Latin-1 without "
			    "double blanks, the value UTF-8 without NUL",
			    (int)key.bytes, key.at);
	}
}

/* Choose the output where the producer left it open, and check it. */
static enum latentd_err
read_output(struct intake *in, enum latentd_output output, struct reason *why)
{
	bool video = in->model->temporal != 0;

	in->output = output;
	if (output == LATENTD_OUT_NONE) {
		in->output = LATENTD_OUT_PNG;
		if (in->task == LATENTD_ENCODE)
			in->output = LATENTD_OUT_LATENT;
		else if (video)
			in->output = LATENTD_OUT_MP4;
	}
	if ((in->task == LATENTD_ENCODE) != (in->output == LATENTD_OUT_LATENT))
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "output %s does not go with task %s",
		    output_name(in->output), task_name(in->task));
	if (in->output == LATENTD_OUT_MP4 && !video)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "output mp4 needs a video model; %s gives images: png, "
		    "jpg, pixels or float",
		    in->model->name);
	if (in->output == LATENTD_OUT_JPG && video)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "output jpg is for images; %s gives video: mp4, png "
		    "(a file per frame), pixels or float",
		    in->model->name);
	return LATENTD_OK;
}

static void
set_scaling(struct intake *in, enum latentd_space space)
{
	if (space == LATENTD_SPACE_VAE)
		return;
	in->remote.scaling = REMOTE_SCALING_FACTORS;
	in->remote.scaling_factor = in->model->scaling_factor;
	in->remote.shift_factor = in->model->shift_factor;
	in->remote.has_shift = in->model->has_shift;
}

/* The request for the output: see the reply table of protocol.md §10. */
static void
set_reply(struct intake *in)
{
	in->remote.accept = REMOTE_TENSOR;
	in->remote.output = REMOTE_PT;
	switch (in->output) {
	case LATENTD_OUT_JPG:
		in->remote.accept = REMOTE_JPEG;
		in->remote.output = REMOTE_PIL;
		return;
	case LATENTD_OUT_MP4:
		in->remote.accept = REMOTE_TEXT;
		in->remote.output = REMOTE_MP4;
		return;
	case LATENTD_OUT_PNG:
	case LATENTD_OUT_PIXELS:
		/* uint8 is the smallest transfer at full quality. */
		in->remote.partial_postprocess = true;
		return;
	case LATENTD_OUT_LATENT:
		in->remote.accept = REMOTE_ANY;
		return;
	case LATENTD_OUT_NONE:
	case LATENTD_OUT_FLOAT:
		return;
	}
}

/* The forms that old clients send, as every endpoint knows them. */
static struct latentd_tensor
plain_shape(const struct latentd_tensor *sent, const struct geometry *geo)
{
	struct latentd_tensor t = *sent;

	if (t.ndim == 3 && !geo->packed) {
		/* [C,h,w] lacks its batch. */
		memmove(t.shape + 1, t.shape, 3 * sizeof(t.shape[0]));
		t.shape[0] = 1;
		t.ndim = 4;
	} else if (t.ndim == 4 && geo->packed) {
		/* [1,N,P,4C] has one dimension too many. */
		memmove(t.shape, t.shape + 1, 3 * sizeof(t.shape[0]));
		t.ndim = 3;
	}
	return t;
}

static enum latentd_err
read_decode(
    struct intake *in, const struct message_submit *s, struct reason *why)
{
	uint64_t bytes;
	enum latentd_err err;

	err = tensor_bytes(&s->tensor, &bytes, why);
	if (err != LATENTD_OK)
		return err;
	if (bytes != in->payload_bytes) {
		char shape[TENSOR_SHAPE_TEXT_BYTES];

		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s of %s needs %llu bytes, but the body has %zu",
		    tensor_shape_format(&s->tensor, shape),
		    dtype_name(s->tensor.dtype), (unsigned long long)bytes,
		    in->payload_bytes);
	}
	if (s->tensor.dtype == LATENTD_U8)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "field \"dtype\" is uint8, but a latent must be float16, "
		    "bfloat16 or float32");
	err = model_geometry(in->model, &s->tensor, (uint32_t)s->height_px,
	    (uint32_t)s->width_px, &in->geo, why);
	if (err != LATENTD_OK)
		return err;
	if ((uint64_t)in->geo.batch * in->geo.frames > LATENTD_MAX_PARTS &&
	    in->output == LATENTD_OUT_PNG)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "%u frames as png files; at most %u, use mp4 or pixels",
		    in->geo.batch * in->geo.frames, LATENTD_MAX_PARTS);
	in->remote.tensor = plain_shape(&s->tensor, &in->geo);
	if (in->geo.packed) {
		in->remote.height_px = in->geo.height_px;
		in->remote.width_px = in->geo.width_px;
	}
	/* An endpoint gives one file per request, so batches are split. */
	if (in->geo.batch > 1 &&
	    (in->output == LATENTD_OUT_JPG || in->output == LATENTD_OUT_MP4 ||
		in->geo.video)) {
		in->parts_n = in->geo.batch;
		in->remote.tensor.shape[0] = 1;
	}
	return remote_expect(&in->remote, NULL, &in->expect, why);
}

static bool
is_file(const struct message_submit *s)
{
	return s->tensor.ndim == 0 && s->tensor.dtype == LATENTD_DTYPE_NONE;
}

static enum latentd_err
read_encode(
    struct intake *in, const struct message_submit *s, struct reason *why)
{
	uint64_t bytes;
	enum latentd_err err;

	if (is_file(s)) {
		in->remote.body = REMOTE_ANY;
		if (in->image.kind == IMAGE_MP4)
			return reason_set(why, LATENTD_ERR_UNSUPPORTED,
			    "encode takes PNG or JPEG files or a tensor, "
			    "not MP4");
		return remote_expect(&in->remote, &in->image, &in->expect, why);
	}
	err = tensor_bytes(&s->tensor, &bytes, why);
	if (err != LATENTD_OK)
		return err;
	if (bytes != in->payload_bytes)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape and dtype need %llu bytes, but the body has %zu",
		    (unsigned long long)bytes, in->payload_bytes);
	in->remote.tensor = s->tensor;
	return remote_expect(&in->remote, NULL, &in->expect, why);
}

/* The pixels of all pictures, which is what a job costs its producer. */
static void
set_cost(struct intake *in)
{
	const struct latentd_tensor *t = &in->expect.tensor;
	uint64_t px = 1;

	if (in->task == LATENTD_DECODE) {
		px = (uint64_t)in->geo.batch * in->geo.frames *
		    in->geo.height_px * in->geo.width_px;
	} else {
		/* The latent that comes back: all but its channels. */
		for (uint32_t i = 0; i < t->ndim; i++)
			px *= i != 1 ? t->shape[i] : 1;
		px *= (uint64_t)in->model->spatial * in->model->spatial;
	}
	in->cost_px = px > 0 ? px : 1;
}

/* What the header alone says. */
static enum latentd_err
read_head(struct intake *in, const struct message_submit *s, size_t body_bytes,
    struct reason *why)
{
	memset(in, 0, sizeof(*in));
	in->model = model_find(s->model.at, s->model.bytes);
	if (in->model == NULL)
		return reason_set(why, LATENTD_ERR_MODEL,
		    "field \"model\" is \"%.*s\", but must be one of %s",
		    (int)s->model.bytes, s->model.at, model_names());
	if (s->metadata_bytes > body_bytes)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "field \"metadata_bytes\" is %llu, but the body has %zu",
		    (unsigned long long)s->metadata_bytes, body_bytes);
	in->task = s->task;
	in->parts_n = 1;
	in->payload_bytes = body_bytes - (size_t)s->metadata_bytes;
	in->metadata_bytes = (size_t)s->metadata_bytes;
	remote_request_init(&in->remote, s->task, in->model);
	in->remote.body = REMOTE_TENSOR;
	return read_output(in, s->output, why);
}

static enum latentd_err
read_rest(struct intake *in, const struct message_submit *s, struct reason *why)
{
	enum latentd_err err;

	set_scaling(in, s->space);
	set_reply(in);
	err = s->task == LATENTD_DECODE ? read_decode(in, s, why)
					: read_encode(in, s, why);
	if (err != LATENTD_OK)
		return err;
	set_cost(in);
	in->priority = s->priority;
	in->deadline_ms = s->deadline_ms;
	return LATENTD_OK;
}

enum latentd_err
intake_read(const struct message_submit *s, const uint8_t *body,
    size_t body_bytes, struct intake *in, struct reason *why)
{
	enum latentd_err err = read_head(in, s, body_bytes, why);

	if (err != LATENTD_OK)
		return err;
	in->payload = body;
	in->metadata = body + in->payload_bytes;
	if ((err = read_metadata(in, why)) != LATENTD_OK)
		return err;
	if (s->task == LATENTD_ENCODE && is_file(s) &&
	    (err = image_parse(in->payload, in->payload_bytes, &in->image,
		 why)) != LATENTD_OK)
		return err;
	if ((err = read_rest(in, s, why)) != LATENTD_OK)
		return err;
	if (s->refuse_late && s->deadline_ms == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "field \"refuse_late\" needs \"deadline_ms\"");
	return LATENTD_OK;
}

enum latentd_err
intake_again(const struct message_submit *s, const struct image_info *image,
    size_t body_bytes, struct intake *in, struct reason *why)
{
	enum latentd_err err = read_head(in, s, body_bytes, why);

	if (err != LATENTD_OK)
		return err;
	in->image = *image;
	return read_rest(in, s, why);
}

/* ---- a request of the remote contract ---- */

static enum latentd_output
output_of(const struct remote_request *req, const struct remote_expect *expect)
{
	if (req->task == LATENTD_ENCODE)
		return LATENTD_OUT_LATENT;
	switch ((int)expect->type) {
	case REMOTE_JPEG:
		return LATENTD_OUT_JPG;
	case REMOTE_PNG:
		return LATENTD_OUT_PNG;
	case REMOTE_TEXT:
		return LATENTD_OUT_MP4;
	default:
		return expect->tensor.dtype == LATENTD_U8 ? LATENTD_OUT_PIXELS
							  : LATENTD_OUT_FLOAT;
	}
}

/* Ask as every endpoint understands it, whatever form the client used. */
static void
set_plain(struct intake *in)
{
	const bool is_file = in->remote.tensor.ndim == 0;

	in->remote.body = is_file ? REMOTE_ANY : REMOTE_TENSOR;
	if (in->task == LATENTD_ENCODE) {
		in->remote.accept = REMOTE_ANY;
		return;
	}
	in->remote.accept = in->expect.type;
	in->remote.tensor = plain_shape(&in->remote.tensor, &in->geo);
	in->remote.height_px = in->geo.packed ? in->geo.height_px : 0;
	in->remote.width_px = in->geo.packed ? in->geo.width_px : 0;
}

enum latentd_err
intake_remote(const struct remote_request *req, const void *payload,
    size_t payload_bytes, struct intake *in, struct reason *why)
{
	const bool is_file = req->tensor.ndim == 0;
	struct image_info image;
	enum latentd_err err;

	memset(in, 0, sizeof(*in));
	in->model = req->model;
	in->task = req->task;
	in->parts_n = 1;
	in->payload = payload;
	in->payload_bytes = payload_bytes;
	in->metadata = in->payload + payload_bytes;
	in->remote = *req;
	if (is_file &&
	    (err = image_parse(payload, payload_bytes, &image, why)) !=
		LATENTD_OK)
		return err;
	/* First as it was asked: base64 has a bound of its own. */
	err = remote_expect(req, is_file ? &image : NULL, &in->expect, why);
	if (err == LATENTD_OK && in->expect.base64) {
		in->remote.accept = REMOTE_TENSOR;
		err = remote_expect(
		    &in->remote, is_file ? &image : NULL, &in->expect, why);
	}
	if (err != LATENTD_OK)
		return err;
	in->geo = in->expect.geo;
	in->output = output_of(req, &in->expect);
	set_plain(in);
	set_cost(in);
	return LATENTD_OK;
}

/* ---- the job ---- */

enum latentd_err
intake_job(const struct intake *in, struct jobs *jobs,
    struct producer *producer, struct text key, struct job **out,
    struct reason *why)
{
	struct job *job;
	enum latentd_err err;

	err = job_create(jobs, producer, key, in->parts_n, &job, why);
	if (err != LATENTD_OK)
		return err;
	job->remote = in->remote;
	job->expect = in->expect;
	job->output = in->output;
	job->geo = in->geo;
	job->payload = in->payload;
	job->payload_bytes = in->payload_bytes;
	job->metadata = in->metadata;
	job->metadata_bytes = in->metadata_bytes;
	job->cost_px = in->cost_px;
	job->class = job_class(in->priority);
	job->submitted_ns = uv_hrtime();
	job->deadline_ms = in->deadline_ms;
	if (in->deadline_ms > 0)
		job->deadline_ns = job->submitted_ns + in->deadline_ms * MS_NS;
	*out = job;
	return LATENTD_OK;
}
