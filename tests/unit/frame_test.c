/* SPDX-License-Identifier: Apache-2.0 */
/* Small pictures to large ones and back; frames between latent frames. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "frame.h"
#include "photo.h"
#include "resample.h"

static struct reason why;

Test(resample, mean_of_every_block_is_the_value_it_came_from)
{
	float plane[5 * 7], row[7 * 8], scratch[RESAMPLE_SCRATCH(7)];
	double sums[5 * 7] = {0};
	uint32_t i, x, y;

	for (i = 0; i < 35; i++)
		plane[i] = sinf((float)(i * i));
	for (y = 0; y < 40; y++) {
		resample_up_row(plane, 7, 5, y, row, scratch);
		for (x = 0; x < 56; x++)
			sums[y / 8 * 7 + x / 8] += (double)row[x];
	}
	for (i = 0; i < 35; i++)
		cr_assert_float_eq(sums[i] / 64, (double)plane[i], 1e-5);
}

Test(resample, constant_picture_stays_constant)
{
	float plane[6] = {0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f};
	float row[24], scratch[RESAMPLE_SCRATCH(3)];
	uint32_t x, y;

	for (y = 0; y < 16; y++) {
		resample_up_row(plane, 3, 2, y, row, scratch);
		for (x = 0; x < 24; x++)
			cr_assert_float_eq(row[x], 0.3f, 1e-6);
	}
}

Test(resample, straight_ramp_stays_a_straight_ramp)
{
	float plane[9], row[72], scratch[RESAMPLE_SCRATCH(9)];
	uint32_t x;

	for (x = 0; x < 9; x++)
		plane[x] = (float)x;
	resample_up_row(plane, 9, 1, 3, row, scratch);
	/* Half-pixel centres; the border bends what is near it. */
	for (x = 16; x < 56; x++)
		cr_assert_float_eq(row[x], ((float)x + 0.5f) / 8 - 0.5f, 1e-5);
}

Test(resample, pixels_are_clamped_and_nan_is_black)
{
	const float r[] = {-1, 0, 1, 2}, g[] = {-5, NAN, INFINITY, -INFINITY};
	uint8_t out[12];

	resample_pixels(out, r, g, r, 4);
	cr_assert_eq(out[0], 0);
	cr_assert_eq(out[3], 128);
	cr_assert_eq(out[6], 255);
	cr_assert_eq(out[9], 255);
	cr_assert_eq(out[1], 0);
	cr_assert_eq(out[4], 0);
	cr_assert_eq(out[7], 255);
	cr_assert_eq(out[10], 0);
}

Test(resample, sides_that_do_not_divide_are_resized)
{
	struct remote_request req = photo_request(LATENTD_ENCODE, "sdxl");
	struct picture p = photo_make(61, 83);
	struct latentd_tensor t = photo_latent(&req, &p, LATENTD_F32);
	struct preview small;
	double all[3] = {0}, shrunk[3] = {0};
	size_t i, c;

	cr_assert_eq(t.shape[2], 10);
	cr_assert_eq(t.shape[3], 7);
	cr_assert_eq(frame_shrink_picture(&p, &t, &small, &why), LATENTD_OK);
	/* Every pixel counts by the same area, so the mean stays. */
	for (c = 0; c < 3; c++) {
		for (i = 0; i < (size_t)61 * 83; i++)
			all[c] += (double)p.rgb[3 * i + c] / 127.5 - 1;
		for (i = 0; i < 70; i++)
			shrunk[c] += (double)small.rgb[c * 70 + i];
		cr_assert_float_eq(all[c] / (61 * 83), shrunk[c] / 70, 1e-4);
	}
	preview_free(&small);
	free(p.rgb);
}

static void
small_video(struct preview *p, uint32_t frames)
{
	size_t i;

	*p = (struct preview){1, frames, 2, 3, NULL};
	cr_assert_eq(preview_alloc(p, &why), LATENTD_OK);
	for (i = 0; i < frames * (size_t)18; i++)
		p->rgb[i] = sinf((float)i) * 0.5f;
}

Test(frame, latent_frames_are_shown_exactly_and_others_are_mixed)
{
	enum { PLANE = 16 * 24, COUNT = 3 * PLANE };
	struct preview p;
	float whole[COUNT], next[COUNT], mixed[COUNT];
	size_t i;

	small_video(&p, 3);
	/* Frame 4 of the video is latent frame 1 on its own. */
	struct preview alone = p;
	alone.frames = 1;
	alone.rgb = preview_planes(&p, 0, 1);
	frame_floats(&alone, 0, 0, 1, false, LATENTD_F32, (uint8_t *)whole,
	    sizeof(float) * PLANE, &why);
	frame_floats(&p, 0, 4, 4, false, LATENTD_F32, (uint8_t *)mixed,
	    sizeof(float) * PLANE, &why);
	for (i = 0; i < COUNT; i++)
		cr_assert_eq(whole[i], mixed[i]);

	frame_floats(&p, 0, 8, 4, false, LATENTD_F32, (uint8_t *)next,
	    sizeof(float) * PLANE, &why);
	frame_floats(&p, 0, 5, 4, false, LATENTD_F32, (uint8_t *)mixed,
	    sizeof(float) * PLANE, &why);
	for (i = 0; i < COUNT; i++)
		cr_assert_float_eq(
		    mixed[i], 0.75f * whole[i] + 0.25f * next[i], 1e-5);
	preview_free(&p);
}

Test(frame, unit_range_is_half_of_the_signed_one)
{
	enum { PLANE = 16 * 24, COUNT = 3 * PLANE };
	float signed_range[COUNT], unit[COUNT];
	struct preview p;
	size_t i;

	small_video(&p, 1);
	p.rgb[0] = 5;
	frame_floats(&p, 0, 0, 1, false, LATENTD_F32, (uint8_t *)signed_range,
	    sizeof(float) * PLANE, &why);
	frame_floats(&p, 0, 0, 1, true, LATENTD_F32, (uint8_t *)unit,
	    sizeof(float) * PLANE, &why);
	for (i = 0; i < COUNT; i++) {
		cr_assert_float_eq(unit[i], (signed_range[i] + 1) / 2, 1e-6);
		cr_assert(unit[i] >= 0 && unit[i] <= 1);
	}
	preview_free(&p);
}
