/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small pictures to large ones and back.  One frame is made at a time, so that
 * a video never needs more than its encoded form and one frame of pixels.  The
 * maps from latents and the enlarging are linear, which is why frames between
 * two latent frames can be mixed from their small pictures.
 *
 * Pure functions but for memory of their own; any thread.
 */
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "resample.h"
#include "tensor.h"

/* What it takes to enlarge one frame. */
struct room {
	const float *planes; /* the small picture */
	float *mixed; /* its memory, if it is a mixture */
	float *rows[3]; /* one large row of each channel */
	float *scratch;
};

static enum latentd_err
no_memory(struct reason *why)
{
	return reason_set(why, LATENTD_ERR_MEMORY,
	    "not enough memory for a picture; try again later");
}

static void
room_free(struct room *room)
{
	free(room->mixed);
	free(room->rows[0]);
	free(room->scratch);
}

/* The small picture at video frame ${frame}. */
static bool
room_mix(struct room *room, const struct preview *p, uint32_t n, uint32_t frame,
    uint32_t step)
{
	const size_t count = (size_t)p->height * p->width * 3;
	const uint32_t t = frame / step;
	const float late = (float)(frame % step) / (float)step;
	const float *from = preview_planes(p, n, t), *to;
	size_t i;

	room->planes = from;
	if (frame % step == 0)
		return true;
	room->mixed = malloc(count * sizeof(float));
	if (room->mixed == NULL)
		return false;
	to = preview_planes(p, n, t + 1);
	for (i = 0; i < count; i++)
		room->mixed[i] = from[i] + late * (to[i] - from[i]);
	room->planes = room->mixed;
	return true;
}

static bool
room_make(struct room *room, const struct preview *p, uint32_t n,
    uint32_t frame, uint32_t step)
{
	const size_t width = (size_t)p->width * RESAMPLE_FACTOR;

	memset(room, 0, sizeof(*room));
	room->rows[0] = malloc(3 * width * sizeof(float));
	room->scratch = malloc(RESAMPLE_SCRATCH(p->width) * sizeof(float));
	if (room->rows[0] == NULL || room->scratch == NULL ||
	    !room_mix(room, p, n, frame, step)) {
		room_free(room);
		return false;
	}
	room->rows[1] = room->rows[0] + width;
	room->rows[2] = room->rows[1] + width;
	return true;
}

static void
room_row(
    const struct room *room, const struct preview *p, uint32_t c, uint32_t y)
{
	resample_up_row(room->planes + (size_t)c * p->height * p->width,
	    p->width, p->height, y, room->rows[c], room->scratch);
}

enum latentd_err
frame_pixels(const struct preview *p, uint32_t n, uint32_t frame, uint32_t step,
    uint8_t *rgb, struct reason *why)
{
	const size_t width = (size_t)p->width * RESAMPLE_FACTOR;
	struct room room;
	uint32_t c, y;

	if (!room_make(&room, p, n, frame, step))
		return no_memory(why);
	for (y = 0; y < p->height * RESAMPLE_FACTOR; y++) {
		for (c = 0; c < 3; c++)
			room_row(&room, p, c, y);
		resample_pixels(rgb + y * width * 3, room.rows[0], room.rows[1],
		    room.rows[2], width);
	}
	room_free(&room);
	return LATENTD_OK;
}

enum latentd_err
frame_floats(const struct preview *p, uint32_t n, uint32_t frame, uint32_t step,
    bool unit, enum latentd_dtype dtype, uint8_t *dst, size_t plane_bytes,
    struct reason *why)
{
	const size_t width = (size_t)p->width * RESAMPLE_FACTOR;
	const size_t row_bytes = width * dtype_bytes(dtype);
	const float low = unit ? 0.0f : -1.0f, gain = unit ? 0.5f : 1.0f;
	struct room room;
	uint32_t c, y;

	if (!room_make(&room, p, n, frame, step))
		return no_memory(why);
	for (c = 0; c < 3; c++) {
		for (y = 0; y < p->height * RESAMPLE_FACTOR; y++) {
			room_row(&room, p, c, y);
			resample_clamp(room.rows[c], width, low, gain);
			tensor_store(dst + c * plane_bytes + y * row_bytes,
			    room.rows[c], dtype, width);
		}
	}
	room_free(&room);
	return LATENTD_OK;
}

/* The shape of small pictures that a latent [N,C,(T,)h,w] holds. */
static struct preview
preview_of(const struct latentd_tensor *latent)
{
	const uint32_t last = latent->ndim - 1;

	return (struct preview){
	    .batch = (uint32_t)latent->shape[0],
	    .frames = latent->ndim == 5 ? (uint32_t)latent->shape[2] : 1,
	    .height = (uint32_t)latent->shape[last - 1],
	    .width = (uint32_t)latent->shape[last],
	};
}

static void
load_picture(const void *arg, uint32_t c, uint32_t y, float *row)
{
	const struct picture *picture = arg;
	const uint8_t *rgb = picture->rgb + (size_t)y * picture->width * 3 + c;
	uint32_t x;

	for (x = 0; x < picture->width; x++)
		row[x] = (float)rgb[3 * (size_t)x] / 127.5f - 1.0f;
}

enum latentd_err
frame_shrink_picture(const struct picture *picture,
    const struct latentd_tensor *latent, struct preview *preview,
    struct reason *why)
{
	const struct resample_source source = {
	    load_picture, picture, picture->width, picture->height};
	struct preview p = preview_of(latent);
	enum latentd_err err;
	float *row;

	row = malloc(picture->width * sizeof(float));
	if (row == NULL)
		return no_memory(why);
	err = preview_alloc(&p, why);
	if (err == LATENTD_OK) {
		resample_down(&source, p.width, p.height, p.rgb, row);
		*preview = p;
	}
	free(row);
	return err;
}

/* One frame of [N,3,F,H,W]: its channels lie channel_bytes apart. */
struct tensor_frame {
	const uint8_t *data;
	enum latentd_dtype dtype;
	size_t row_n;
	size_t channel_bytes;
};

static void
load_tensor(const void *arg, uint32_t c, uint32_t y, float *row)
{
	const struct tensor_frame *frame = arg;
	const size_t row_bytes = frame->row_n * dtype_bytes(frame->dtype);
	size_t x;

	tensor_load(row, frame->data + c * frame->channel_bytes + y * row_bytes,
	    frame->dtype, frame->row_n);
	if (frame->dtype != LATENTD_U8)
		return;
	for (x = 0; x < frame->row_n; x++)
		row[x] = row[x] / 127.5f - 1.0f;
}

enum latentd_err
frame_shrink_tensor(const struct remote_request *req,
    const struct geometry *geo, const void *data,
    const struct latentd_tensor *latent, struct preview *preview,
    struct reason *why)
{
	const uint32_t step = geo->video ? req->model->temporal : 1;
	const size_t frame_bytes = (size_t)geo->height_px * geo->width_px *
	    dtype_bytes(req->tensor.dtype);
	struct tensor_frame frame = {
	    NULL, req->tensor.dtype, geo->width_px, frame_bytes * geo->frames};
	const struct resample_source source = {
	    load_tensor, &frame, geo->width_px, geo->height_px};
	struct preview p = preview_of(latent);
	enum latentd_err err;
	uint32_t n, t;
	float *row;

	row = malloc(geo->width_px * sizeof(float));
	if (row == NULL)
		return no_memory(why);
	err = preview_alloc(&p, why);
	for (n = 0; err == LATENTD_OK && n < p.batch; n++) {
		for (t = 0; t < p.frames; t++) {
			frame.data = (const uint8_t *)data +
			    (size_t)n * 3 * frame.channel_bytes +
			    (size_t)t * step * frame_bytes;
			resample_down(&source, p.width, p.height,
			    preview_planes(&p, n, t), row);
		}
	}
	if (err == LATENTD_OK)
		*preview = p;
	free(row);
	return err;
}
