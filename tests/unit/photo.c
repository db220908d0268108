/* SPDX-License-Identifier: Apache-2.0 */
/* A picture to encode and decode, and how much of it is left. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "photo.h"

static struct reason why;

/* Like a photo: gradients, soft shapes, hard edges and some fine texture. */
struct picture
photo_make(uint32_t width, uint32_t height)
{
	struct picture p = {width, height, malloc((size_t)width * height * 3)};
	uint32_t x, y, c;

	for (y = 0; y < height; y++) {
		for (x = 0; x < width; x++) {
			double u = (double)x / width, v = (double)y / height;
			double r = hypot(u - 0.6, v - 0.4);
			double rgb[3] = {
			    120 + 90 * sin(5 * u + 2 * v),
			    110 + 80 * cos(7 * v - 3 * u),
			    170 - 120 * v,
			};

			for (c = 0; c < 3; c++) {
				if (r < 0.2)
					rgb[c] = (c == 2 ? 60 : 220) - 300 * r;
				if (fabs(u - 0.2) < 0.1 && v > 0.5)
					rgb[c] = c == 0 ? 160 : 40;
				rgb[c] += 6 * sin(x * 0.9) * cos(y * 0.7);
				rgb[c] = fmin(fmax(rgb[c], 0), 255);
				p.rgb[((size_t)y * width + x) * 3 + c] =
				    (uint8_t)rgb[c];
			}
		}
	}
	return p;
}

/* PSNR of the 1/8-scale pictures, in dB; sides must be multiples of 8. */
double
photo_psnr(const struct picture *a, const struct picture *b)
{
	double sum = 0, error;
	size_t n = 0;
	uint32_t x, y, c, i, j;

	for (y = 0; y < a->height; y += 8) {
		for (x = 0; x < a->width; x += 8) {
			for (c = 0; c < 3; c++) {
				error = 0;
				for (i = 0; i < 64; i++) {
					j = ((y + i / 8) * a->width + x +
						i % 8) *
						3 +
					    c;
					error += a->rgb[j] - b->rgb[j];
				}
				sum += error * error / 4096;
				n++;
			}
		}
	}
	return sum == 0 ? 200 : 10 * log10(255 * 255 / (sum / (double)n));
}

struct remote_request
photo_request(enum latentd_task task, const char *model)
{
	const struct model *m = model_find(model, strlen(model));
	struct remote_request req;

	cr_assert_not_null(m, "%s", model);
	remote_request_init(&req, task, m);
	req.scaling = REMOTE_SCALING_SERVER;
	return req;
}

struct latentd_tensor
photo_latent(const struct remote_request *req, const struct picture *p,
    enum latentd_dtype dtype)
{
	struct latentd_tensor t;

	cr_assert_eq(
	    model_encoded(req->model, p->width, p->height, 1, 1, &t, &why),
	    LATENTD_OK, "%s", why.text);
	t.dtype = dtype;
	return t;
}
