/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request from its body to its reply, on a worker thread.  It waits for
 * nothing and touches nothing but its struct compute.
 */
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "codec.h"
#include "compute.h"
#include "frame.h"
#include "image.h"
#include "misfit.h"
#include "tensor.h"
#include "video.h"

/* ---- decode ---- */

static enum latentd_err
reply_alloc(struct compute *c, const struct latentd_tensor *tensor)
{
	enum latentd_err err;
	uint64_t bytes;

	err = tensor_bytes(tensor, &bytes, &c->why);
	if (err != LATENTD_OK)
		return err;
	c->reply.data = malloc((size_t)bytes);
	if (c->reply.data == NULL)
		return reason_set(&c->why, LATENTD_ERR_MEMORY,
		    "not enough memory for the reply; try again later");
	c->reply.bytes = (size_t)bytes;
	c->reply.release = free;
	c->tensor = *tensor;
	return LATENTD_OK;
}

/* Frames between two latent frames: 1 for images. */
static uint32_t
frame_step(const struct compute *c)
{
	return c->req.model->temporal != 0 ? c->req.model->temporal : 1;
}

static enum latentd_err
reply_pixels(struct compute *c, const struct remote_expect *expect,
    const struct preview *p)
{
	const struct geometry *geo = &expect->geo;
	const size_t frame_bytes = (size_t)geo->height_px * geo->width_px * 3;
	enum latentd_err err;
	uint32_t n, f;
	uint8_t *dst;

	err = reply_alloc(c, &expect->tensor);
	dst = c->reply.data;
	for (n = 0; err == LATENTD_OK && n < geo->batch; n++) {
		for (f = 0; err == LATENTD_OK && f < geo->frames; f++) {
			err =
			    frame_pixels(p, n, f, frame_step(c), dst, &c->why);
			dst += frame_bytes;
		}
	}
	return err;
}

static enum latentd_err
reply_floats(struct compute *c, const struct remote_expect *expect,
    const struct preview *p)
{
	const struct geometry *geo = &expect->geo;
	const bool unit = c->req.output == REMOTE_PIL;
	struct latentd_tensor t = expect->tensor;
	size_t plane, channel, frame;
	enum latentd_err err;
	uint32_t n, f;
	uint8_t *dst;

	if (t.dtype == LATENTD_DTYPE_NONE)
		t.dtype = c->req.model->dtype;
	plane = (size_t)geo->height_px * geo->width_px * dtype_bytes(t.dtype);
	/* [N,3,F,H,W] keeps a channel's frames together, else a frame's
	 * channels are. */
	channel = t.ndim == 5 ? plane * geo->frames : plane;
	frame = t.ndim == 5 ? plane : 3 * plane;
	err = reply_alloc(c, &t);
	for (n = 0; err == LATENTD_OK && n < geo->batch; n++) {
		dst = (uint8_t *)c->reply.data + 3 * plane * geo->frames * n;
		for (f = 0; err == LATENTD_OK && f < geo->frames; f++)
			err = frame_floats(p, n, f, frame_step(c), unit,
			    t.dtype, dst + f * frame, channel, &c->why);
	}
	return err;
}

static enum latentd_err
picture_alloc(
    struct compute *c, const struct geometry *geo, struct picture *picture)
{
	picture->width = geo->width_px;
	picture->height = geo->height_px;
	picture->rgb = malloc((size_t)geo->width_px * geo->height_px * 3);
	if (picture->rgb == NULL)
		return reason_set(&c->why, LATENTD_ERR_MEMORY,
		    "not enough memory for the picture; try again later");
	return LATENTD_OK;
}

static enum latentd_err
reply_picture(struct compute *c, const struct remote_expect *expect,
    const struct preview *p)
{
	struct picture picture;
	enum latentd_err err;

	err = picture_alloc(c, &expect->geo, &picture);
	if (err != LATENTD_OK)
		return err;
	err = frame_pixels(p, 0, 0, 1, picture.rgb, &c->why);
	if (err == LATENTD_OK && expect->type == REMOTE_PNG)
		err = picture_write_png(&picture, &c->reply, &c->why);
	else if (err == LATENTD_OK)
		err = picture_write_jpeg(&picture, &c->reply, &c->why);
	free(picture.rgb);
	return err;
}

static enum latentd_err
reply_video(struct compute *c, const struct remote_expect *expect,
    const struct preview *p)
{
	struct video *video = NULL;
	struct picture picture;
	enum latentd_err err;
	uint32_t f;

	err = picture_alloc(c, &expect->geo, &picture);
	if (err != LATENTD_OK)
		return err;
	err =
	    video_open(picture.width, picture.height, c->fps, &video, &c->why);
	for (f = 0; err == LATENTD_OK && f < expect->geo.frames; f++) {
		err =
		    frame_pixels(p, 0, f, frame_step(c), picture.rgb, &c->why);
		if (err == LATENTD_OK)
			err = video_add(video, picture.rgb, &c->why);
	}
	if (err == LATENTD_OK)
		err = video_finish(video, &c->reply, &c->why);
	video_close(video);
	free(picture.rgb);
	return err;
}

/* What is asked for; with a misfit, what of a larger latent would be. */
static enum latentd_err
decode_expect(struct compute *c, const void *latent, void **grown,
    struct remote_expect *expect)
{
	enum latentd_err err;

	err = remote_expect(&c->req, NULL, expect, &c->why);
	if (err != LATENTD_OK || !c->misfit)
		return err;
	err = misfit_tensor(&c->req, &expect->geo, latent, grown, &c->why);
	if (err != LATENTD_OK)
		return err;
	return remote_expect(&c->req, NULL, expect, &c->why);
}

static enum latentd_err
decode(struct compute *c, const void *latent, struct remote_expect *expect)
{
	void *grown = NULL;
	struct preview p;
	enum latentd_err err;

	err = decode_expect(c, latent, &grown, expect);
	if (err == LATENTD_OK)
		err = codec_project(&c->req, &expect->geo,
		    grown != NULL ? grown : latent, &p, &c->why);
	free(grown);
	if (err != LATENTD_OK)
		return err;
	if (expect->type == REMOTE_TEXT)
		err = reply_video(c, expect, &p);
	else if (expect->type != REMOTE_TENSOR)
		err = reply_picture(c, expect, &p);
	else if (expect->tensor.dtype == LATENTD_U8)
		err = reply_pixels(c, expect, &p);
	else
		err = reply_floats(c, expect, &p);
	preview_free(&p);
	return err;
}

/* ---- encode ---- */

static enum latentd_err
shrink_file(struct compute *c, const void *file, size_t bytes,
    struct remote_expect *expect, struct preview *p)
{
	struct picture picture;
	struct image_info info;
	enum latentd_err err;

	err = image_parse(file, bytes, &info, &c->why);
	if (err != LATENTD_OK)
		return err;
	if (c->misfit)
		info.height_px += c->req.model->spatial;
	err = remote_expect(&c->req, &info, expect, &c->why);
	if (err != LATENTD_OK)
		return err;
	err = picture_read(file, bytes, &picture, &c->why);
	if (err != LATENTD_OK)
		return err;
	if (c->misfit)
		err = misfit_picture(&c->req, &picture, &c->why);
	if (err != LATENTD_OK)
		goto free_picture;
	if (picture.width == info.width_px && picture.height == info.height_px)
		err =
		    frame_shrink_picture(&picture, &expect->tensor, p, &c->why);
	else
		err = reason_set(&c->why, LATENTD_ERR_IMAGE,
		    "the file contradicts itself about its size");
free_picture:
	free(picture.rgb);
	return err;
}

static enum latentd_err
shrink_tensor(struct compute *c, const void *data, struct remote_expect *expect,
    struct preview *p)
{
	struct geometry geo;
	void *grown = NULL;
	enum latentd_err err;

	err = remote_expect(&c->req, NULL, expect, &c->why);
	if (err == LATENTD_OK && c->misfit) {
		err = misfit_tensor(&c->req, NULL, data, &grown, &c->why);
		if (err == LATENTD_OK)
			err = remote_expect(&c->req, NULL, expect, &c->why);
	}
	if (err == LATENTD_OK)
		err = remote_encode_batch(
		    c->req.model, &c->req.tensor, &geo, &c->why);
	if (err == LATENTD_OK)
		err = frame_shrink_tensor(&c->req, &geo,
		    grown != NULL ? grown : data, &expect->tensor, p, &c->why);
	free(grown);
	return err;
}

static enum latentd_err
encode(struct compute *c, const void *data, size_t bytes,
    struct remote_expect *expect)
{
	struct latentd_tensor t;
	struct preview p;
	enum latentd_err err;

	if (c->req.tensor.ndim == 0)
		err = shrink_file(c, data, bytes, expect, &p);
	else
		err = shrink_tensor(c, data, expect, &p);
	if (err != LATENTD_OK)
		return err;
	t = expect->tensor;
	if (t.dtype == LATENTD_DTYPE_NONE)
		t.dtype = c->req.model->dtype;
	err = codec_embed(&c->req, &p, &t, &c->reply, &c->why);
	c->tensor = t;
	preview_free(&p);
	return err;
}

/* Put the tensor into {"inputs": ..., "parameters": ...}. */
static enum latentd_err
wrap_base64(struct compute *c)
{
	size_t bytes;
	char *text = remote_base64_format(
	    &c->tensor, c->reply.data, c->reply.bytes, &bytes);

	if (text == NULL)
		return reason_set(&c->why, LATENTD_ERR_MEMORY,
		    "not enough memory for base64; try again later");
	blob_free(&c->reply);
	c->reply = (struct blob){text, bytes, free};
	c->tensor.ndim = 0;
	return LATENTD_OK;
}

void
compute_run(struct compute *c)
{
	const uint64_t start_ns = uv_hrtime();
	struct remote_expect expect = {.type = REMOTE_ANY};
	const void *payload;
	void *owned = NULL;
	size_t bytes;

	memset(&c->why, 0, sizeof(c->why));
	memset(&c->reply, 0, sizeof(c->reply));
	memset(&c->tensor, 0, sizeof(c->tensor));
	c->why.err = remote_request_body(
	    &c->req, c->body, c->body_bytes, &payload, &bytes, &owned, &c->why);
	if (c->why.err == LATENTD_OK && c->req.task == LATENTD_DECODE)
		c->why.err = decode(c, payload, &expect);
	else if (c->why.err == LATENTD_OK)
		c->why.err = encode(c, payload, bytes, &expect);
	free(owned);
	if (c->why.err == LATENTD_OK && expect.base64)
		c->why.err = wrap_base64(c);
	if (c->why.err == LATENTD_OK)
		c->type = remote_reply_type(&expect);
	else
		blob_free(&c->reply);
	c->compute_ns = uv_hrtime() - start_ns;
}
