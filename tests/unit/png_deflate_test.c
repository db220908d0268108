/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/png_deflate.h"
#include "fuzz.h"

/* Bytes of a kind: noise of so many values, among runs of zeros. */
static void
fill(struct fuzz *f, uint8_t *bytes, size_t n)
{
	size_t values_n = 1 + fuzz_below(f, 256);
	size_t zeros_in = 1 + fuzz_below(f, 20);
	size_t run_max = 1 + fuzz_below(f, 3) * fuzz_below(f, 700);

	for (size_t i = 0; i < n;) {
		size_t run_n = 1 + fuzz_below(f, run_max);
		bool zeros = fuzz_below(f, zeros_in) == 0;

		for (; run_n > 0 && i < n; run_n--)
			bytes[i++] =
			    zeros ? 0 : (uint8_t)fuzz_below(f, values_n);
	}
}

/* Deflate in pieces, each into exactly the room that it is promised. */
static uint8_t *
deflated(struct fuzz *f, const uint8_t *bytes, size_t n, size_t *out_bytes)
{
	struct png_deflate_work *work = png_deflate_create(n);
	struct png_deflate stream = {0, 0};
	uint8_t *out = malloc(1), *piece;
	size_t at = 0, piece_n, used;

	*out_bytes = 0;
	while (at < n) {
		piece_n = 1 + fuzz_below(f, n - at);
		piece = malloc(PNG_DEFLATE_ROOM(piece_n));
		used = png_deflate_piece(&stream, work, bytes + at, piece_n,
		    at + piece_n == n, piece);
		cr_assert(used <= PNG_DEFLATE_ROOM(piece_n));
		cr_assert(stream.bits_n < 8);
		out = realloc(out, *out_bytes + used + 1);
		memcpy(out + *out_bytes, piece, used);
		*out_bytes += used;
		at += piece_n;
		free(piece);
	}
	png_deflate_destroy(work);
	return out;
}

static void
check_inflated(const uint8_t *data, size_t bytes, const uint8_t *want, size_t n)
{
	z_stream z = {
	    .next_in = (uint8_t *)(uintptr_t)data, .avail_in = (uInt)bytes};
	uint8_t *got = malloc(n + 1);

	cr_assert_eq(inflateInit2(&z, -15), Z_OK);
	z.next_out = got;
	z.avail_out = (uInt)n + 1;
	cr_assert_eq(inflate(&z, Z_FINISH), Z_STREAM_END, "%s", z.msg);
	cr_assert_eq(z.total_out, n);
	cr_assert_eq(z.avail_in, 0);
	cr_assert_arr_eq(got, want, n);
	inflateEnd(&z);
	free(got);
}

static void
check(struct fuzz *f, const uint8_t *bytes, size_t n)
{
	size_t out_bytes;
	uint8_t *out = deflated(f, bytes, n, &out_bytes);

	check_inflated(out, out_bytes, bytes, n);
	free(out);
}

Test(png_deflate, zlib_reads_what_random_bytes_and_runs_became)
{
	for (uint64_t seed = 1; seed <= 1500; seed++) {
		struct fuzz f = {.state = seed};
		size_t n = 1 + fuzz_below(&f, (size_t)1 << fuzz_below(&f, 16));
		uint8_t *bytes = malloc(n);

		fill(&f, bytes, n);
		check(&f, bytes, n);
		free(bytes);
	}
}

/* At every place in a word, behind and before what is not zero. */
Test(png_deflate, runs_of_every_length_and_place_come_back)
{
	uint8_t bytes[900];
	struct fuzz f = {.state = 7};

	for (size_t run_n = 0; run_n < 800; run_n += 1 + run_n / 300) {
		for (size_t at = 0; at < 10; at++) {
			size_t n = at + run_n + run_n % 11 + 1;

			memset(bytes, 0, sizeof(bytes));
			memset(bytes, 5, at);
			memset(bytes + at + run_n, 9, n - at - run_n);
			check(&f, bytes, n);
			check(&f, bytes, at + run_n + 1);
		}
	}
}

Test(png_deflate, the_longest_piece_of_zeros_or_noise_fits_its_room)
{
	size_t n = PNG_DEFLATE_MAX_BYTES;
	struct fuzz f = {.state = 9};
	uint8_t *bytes = calloc(1, n);

	check(&f, bytes, n);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)fuzz_next(&f);
	check(&f, bytes, n);
	/* As many runs as there can be. */
	for (size_t i = 0; i < n; i++)
		bytes[i] = i % 16 == 15;
	check(&f, bytes, n);
	free(bytes);
}

/* Fibonacci's numbers make the longest codes. */
Test(png_deflate, codes_of_the_longest_kind_come_back)
{
	uint8_t *bytes = malloc(PNG_DEFLATE_MAX_BYTES);
	size_t n = 0, count = 1, before = 1, both;
	struct fuzz f = {.state = 11};

	for (unsigned value = 1; n + count < PNG_DEFLATE_MAX_BYTES; value++) {
		memset(bytes + n, (int)value, count);
		n += count;
		both = count + before;
		before = count;
		count = both;
	}
	/* In disorder, so that there are no runs of whatever kind. */
	for (size_t i = n - 1; i > 0; i--) {
		size_t other = fuzz_below(&f, i + 1);
		uint8_t byte = bytes[i];

		bytes[i] = bytes[other];
		bytes[other] = byte;
	}
	check(&f, bytes, n);
	free(bytes);
}

/* What a plan relies on; the block's head is not counted. */
Test(png_deflate, the_cost_is_what_a_piece_takes_but_for_its_head)
{
	struct png_deflate_work *work = png_deflate_create(20000);

	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct png_deflate stream = {0, 0};
		struct fuzz f = {.state = seed};
		size_t n = 1 + fuzz_below(&f, 20000), out_bytes;
		uint8_t *bytes = malloc(n), *out = malloc(PNG_DEFLATE_ROOM(n));
		uint64_t bits;

		fill(&f, bytes, n);
		bits = png_deflate_cost(work, bytes, n);
		out_bytes =
		    png_deflate_piece(&stream, work, bytes, n, true, out);
		cr_assert(bits <= 8 * out_bytes);
		/* A head, and a match's extra bits and distance. */
		cr_assert(8 * out_bytes <= bits + 8 * 520 + 6 * (n / 12));
		free(bytes);
		free(out);
	}
	png_deflate_destroy(work);
}

Test(png_deflate, zeros_become_a_thousandth)
{
	size_t n = 100000, out_bytes;
	uint8_t *bytes = calloc(1, n), *out = malloc(PNG_DEFLATE_ROOM(n));
	struct png_deflate_work *work = png_deflate_create(n);
	struct png_deflate stream = {0, 0};

	out_bytes = png_deflate_piece(&stream, work, bytes, n, true, out);
	cr_assert(out_bytes < n / 800, "%zu bytes", out_bytes);
	png_deflate_destroy(work);
	free(bytes);
	free(out);
}
