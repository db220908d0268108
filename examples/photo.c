/* SPDX-License-Identifier: Apache-2.0 */
/*
 * photo: paint a landscape that looks like a photograph, so that the demo has
 * something to encode and its results can be recognised.
 *
 *     photo WIDTH HEIGHT SEED FILE.png
 *     photo WIDTH HEIGHT SEED FILE.npy FRAMES
 *
 * The second form pans slowly over the landscape and writes the pixels as a
 * video tensor [1,3,FRAMES,HEIGHT,WIDTH] of float32 in [-1,1], which is what
 * an encode job takes beside image files.  The same arguments always give the
 * same picture: all randomness is value noise hashed from the seed.
 */
#include <math.h>
#include <png.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE_PX 8192
#define MAX_FRAMES 257
#define RIDGES_N 4

struct rgb {
	float r;
	float g;
	float b;
};

/* What the seed decides; positions in units of the picture's height. */
struct scene {
	uint32_t seed;
	struct rgb zenith;
	struct rgb horizon;
	struct rgb sun;
	float sun_x;
	float sun_y;
	float water_y;
};

static struct rgb
mix(struct rgb a, struct rgb b, float t)
{
	struct rgb c = {
	    a.r + (b.r - a.r) * t,
	    a.g + (b.g - a.g) * t,
	    a.b + (b.b - a.b) * t,
	};

	return c;
}

static float
clamp01(float v)
{
	return fminf(fmaxf(v, 0.0f), 1.0f);
}

/* 0 below ${from}, 1 above ${to}, smooth between. */
static float
smooth_step(float from, float to, float v)
{
	float t = clamp01((v - from) / (to - from));

	return t * t * (3.0f - 2.0f * t);
}

/* A number in [0,1) for a lattice point. */
static float
lattice(uint32_t seed, int32_t x, int32_t y)
{
	uint32_t h = seed * 0x9e3779b9u + (uint32_t)x * 0x85ebca6bu +
	    (uint32_t)y * 0xc2b2ae35u;

	h = (h ^ (h >> 15)) * 0x2c1b3c6du;
	h = (h ^ (h >> 12)) * 0x297a2d39u;
	h ^= h >> 15;
	return (float)(h >> 8) / 16777216.0f;
}

/* Value noise: the lattice, interpolated smoothly. */
static float
noise(uint32_t seed, float x, float y)
{
	float fx = floorf(x);
	float fy = floorf(y);
	int32_t ix = (int32_t)fx;
	int32_t iy = (int32_t)fy;
	float tx = smooth_step(0.0f, 1.0f, x - fx);
	float ty = smooth_step(0.0f, 1.0f, y - fy);
	float top = lattice(seed, ix, iy) * (1.0f - tx) +
	    lattice(seed, ix + 1, iy) * tx;
	float bottom = lattice(seed, ix, iy + 1) * (1.0f - tx) +
	    lattice(seed, ix + 1, iy + 1) * tx;

	return top * (1.0f - ty) + bottom * ty;
}

/* Noise of ${octaves} sizes on top of each other, in [0,1). */
static float
fractal(uint32_t seed, float x, float y, int octaves)
{
	float sum = 0.0f;
	float weight = 0.5f;
	int i;

	for (i = 0; i < octaves; i++) {
		sum += weight * noise(seed + (uint32_t)i, x, y);
		x *= 2.03f;
		y *= 2.03f;
		weight *= 0.5f;
	}
	return sum;
}

static void
scene_init(struct scene *s, uint32_t seed)
{
	/* Noon, evening, morning. */
	static const struct rgb zenith[] = {
	    {0.16f, 0.38f, 0.78f},
	    {0.20f, 0.18f, 0.44f},
	    {0.36f, 0.56f, 0.80f},
	};
	static const struct rgb horizon[] = {
	    {0.80f, 0.88f, 0.95f},
	    {0.98f, 0.62f, 0.34f},
	    {0.98f, 0.85f, 0.74f},
	};
	static const struct rgb sun[] = {
	    {1.00f, 0.98f, 0.90f},
	    {1.00f, 0.80f, 0.42f},
	    {1.00f, 0.93f, 0.76f},
	};

	s->seed = seed * 1000u;
	s->zenith = zenith[seed % 3];
	s->horizon = horizon[seed % 3];
	s->sun = sun[seed % 3];
	s->sun_x = 0.25f + 0.6f * lattice(seed, 7, 1);
	s->sun_y = 0.20f + 0.18f * lattice(seed, 7, 2);
	s->water_y = 0.74f + 0.06f * lattice(seed, 7, 3);
}

static struct rgb
sky(const struct scene *s, float x, float y)
{
	struct rgb white = {1.0f, 0.98f, 0.96f};
	struct rgb c = mix(s->zenith, s->horizon, smooth_step(-0.1f, 0.62f, y));
	float distance = hypotf(x - s->sun_x, y - s->sun_y);
	float cloud = smooth_step(
	    0.42f, 0.75f, fractal(s->seed + 50, x * 2.2f, y * 5.5f, 5));

	c = mix(c, mix(white, s->sun, 0.35f),
	    cloud * 0.85f * (1.0f - smooth_step(0.3f, 0.6f, y)));
	c = mix(c, s->sun, 0.65f * expf(-distance * 5.0f));
	return mix(c, s->sun, 1.0f - smooth_step(0.055f, 0.066f, distance));
}

/* The skyline of ridge ${i}, 0 the farthest. */
static float
ridge_y(const struct scene *s, int i, float x)
{
	float rough = 1.3f + 0.5f * (float)i;
	float high = 0.36f + 0.085f * (float)i;
	float low = s->water_y - 0.01f;
	float shape = fractal(
	    s->seed + 100 + (uint32_t)i * 10, x * rough, 0.5f, 6 - i / 2);

	return low - (low - high) * smooth_step(0.12f, 0.86f, shape) +
	    0.015f * (float)i;
}

/* Ridge ${i}: the farther, the more of the sky's colour. */
static struct rgb
ridge(const struct scene *s, int i, float x, float y)
{
	struct rgb far = mix(s->horizon, s->zenith, 0.55f);
	struct rgb wood = {0.10f, 0.22f, 0.10f};
	struct rgb meadow = {0.42f, 0.46f, 0.16f};
	float near = (float)i / (float)(RIDGES_N - 1);
	float grain = fractal(s->seed + 200, x * 26.0f, y * 34.0f, 4);
	struct rgb c = mix(wood, meadow, smooth_step(0.2f, 0.8f, grain));
	float light = 0.75f + 0.5f * (grain - 0.5f);

	c.r *= light;
	c.g *= light;
	c.b *= light;
	return mix(c, far, 0.82f * (1.0f - near) + 0.08f);
}

static struct rgb
land(const struct scene *s, float x, float y)
{
	int i;

	for (i = RIDGES_N - 1; i >= 0; i--) {
		if (y > ridge_y(s, i, x))
			return ridge(s, i, x, y);
	}
	return sky(s, x, y);
}

/* A lake that mirrors the land with ripples, and a bank before it. */
static struct rgb
water(const struct scene *s, float x, float y)
{
	struct rgb deep = {0.05f, 0.14f, 0.22f};
	struct rgb reed = {0.24f, 0.20f, 0.08f};
	float below = y - s->water_y;
	float ripple = fractal(s->seed + 300, x * 9.0f, y * 90.0f, 3) - 0.45f;
	struct rgb c = land(s, x + ripple * 0.05f * (1.0f + 4.0f * below),
	    s->water_y - below * 1.6f - ripple * 0.06f);
	float bank = 0.955f - 0.05f * fractal(s->seed + 400, x * 3.0f, 0.2f, 5);
	float blades = fractal(s->seed + 410, x * 80.0f, y * 8.0f, 3);

	c = mix(c, deep, 0.22f + 0.9f * below);
	c = mix(c, s->sun,
	    0.5f * smooth_step(0.12f, 0.25f, ripple) *
		expf(-8.0f * fabsf(x - s->sun_x)));
	reed = mix(reed, s->horizon, 0.35f * blades);
	return mix(
	    c, reed, smooth_step(bank - 0.02f, bank, y + 0.03f * blades));
}

/* The colour at ${x}, ${y}, in units of the picture's height, each in [0,1]. */
static struct rgb
paint(const struct scene *s, float x, float y)
{
	struct rgb c = y < s->water_y ? land(s, x, y) : water(s, x, y);

	c.r = clamp01(c.r);
	c.g = clamp01(c.g);
	c.b = clamp01(c.b);
	return c;
}

static int
write_png(const struct scene *s, uint32_t width_px, uint32_t height_px,
    const char *path)
{
	png_image image = {.version = PNG_IMAGE_VERSION,
	    .width = width_px,
	    .height = height_px,
	    .format = PNG_FORMAT_RGB};
	uint8_t *pixels = malloc((size_t)width_px * height_px * 3);
	float scale = 1.0f / (float)height_px;
	uint8_t *at = pixels;
	uint32_t x, y;
	int ok;

	if (pixels == NULL)
		return -1;
	for (y = 0; y < height_px; y++) {
		for (x = 0; x < width_px; x++) {
			struct rgb c =
			    paint(s, (float)x * scale, (float)y * scale);

			*at++ = (uint8_t)lrintf(c.r * 255.0f);
			*at++ = (uint8_t)lrintf(c.g * 255.0f);
			*at++ = (uint8_t)lrintf(c.b * 255.0f);
		}
	}
	ok = png_image_write_to_file(&image, path, 0, pixels, 0, NULL);
	free(pixels);
	return ok ? 0 : -1;
}

/* The header of a .npy file, version 1.0, padded to 128 bytes. */
static int
write_npy_header(
    FILE *file, uint32_t frames, uint32_t height_px, uint32_t width_px)
{
	static const char magic[10] = "\x93NUMPY\x01\x00\x76";
	char text[118];
	int n = snprintf(text, sizeof(text),
	    "{'descr': '<f4', 'fortran_order': False, "
	    "'shape': (1, 3, %u, %u, %u), }",
	    frames, height_px, width_px);

	if (n < 0 || (size_t)n >= sizeof(text))
		return -1;
	memset(text + n, ' ', sizeof(text) - (size_t)n);
	text[sizeof(text) - 1] = '\n';
	if (fwrite(magic, sizeof(magic), 1, file) != 1)
		return -1;
	return fwrite(text, sizeof(text), 1, file) == 1 ? 0 : -1;
}

static int
write_npy(const struct scene *s, uint32_t width_px, uint32_t height_px,
    uint32_t frames, const char *path)
{
	size_t plane = (size_t)width_px * height_px;
	size_t channel = plane * frames;
	float *pixels = malloc(3 * channel * sizeof(*pixels));
	float scale = 1.0f / (float)height_px;
	FILE *file = pixels != NULL ? fopen(path, "wb") : NULL;
	size_t i;
	int failed = -1;

	for (i = 0; file != NULL && i < channel; i++) {
		size_t frame = i / plane;
		size_t y = i % plane / width_px;
		size_t x = i % width_px;
		struct rgb c = paint(s,
		    (float)x * scale + 0.012f * (float)frame, (float)y * scale);

		pixels[i] = 2.0f * c.r - 1.0f;
		pixels[i + channel] = 2.0f * c.g - 1.0f;
		pixels[i + 2 * channel] = 2.0f * c.b - 1.0f;
	}
	if (file != NULL) {
		failed = write_npy_header(file, frames, height_px, width_px);
		if (fwrite(pixels, sizeof(*pixels), 3 * channel, file) !=
		    3 * channel)
			failed = -1;
		if (fclose(file) != 0)
			failed = -1;
	}
	free(pixels);
	return failed;
}

/* The decimal number ${text}, or 0 when it is none in 1..${most}. */
static uint32_t
number(const char *text, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || value > most)
		return 0;
	return (uint32_t)value;
}

int
main(int argc, char **argv)
{
	struct scene scene;
	uint32_t width_px = argc > 1 ? number(argv[1], MAX_SIDE_PX) : 0;
	uint32_t height_px = argc > 2 ? number(argv[2], MAX_SIDE_PX) : 0;
	uint32_t seed = argc > 3 ? number(argv[3], 1000000) : 0;
	uint32_t frames = argc > 5 ? number(argv[5], MAX_FRAMES) : 0;
	int failed;

	if (width_px == 0 || height_px == 0 || seed == 0 || argc < 5 ||
	    argc > 6 || (argc == 6 && frames == 0)) {
		fprintf(stderr,
		    "usage: photo WIDTH HEIGHT SEED FILE.png\n"
		    "       photo WIDTH HEIGHT SEED FILE.npy FRAMES\n"
		    "sides up to %d, up to %d frames, "
		    "the seed is 1 or more\n",
		    MAX_SIDE_PX, MAX_FRAMES);
		return 2;
	}
	scene_init(&scene, seed);
	if (argc == 6)
		failed =
		    write_npy(&scene, width_px, height_px, frames, argv[4]);
	else
		failed = write_png(&scene, width_px, height_px, argv[4]);
	if (failed)
		fprintf(stderr, "photo: cannot write %s\n", argv[4]);
	return failed ? 1 : 0;
}
