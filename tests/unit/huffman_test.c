/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/huffman.h"
#include "fuzz.h"

/* Of 2^-length in units of 2^-15: a complete code fills 2^15. */
static uint32_t
filled(const uint8_t *lengths, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		if (lengths[i] > 0)
			sum += UINT32_C(1) << (15 - lengths[i]);
	return sum;
}

static uint64_t
cost(const uint32_t *counts, const uint8_t *lengths, unsigned n)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < n; i++)
		bits += (uint64_t)counts[i] * lengths[i];
	return bits;
}

/* The least possible: the sum of all inner nodes' weights, joined one by one
 * in the plainest way. */
static uint64_t
least_cost(const uint32_t *counts, unsigned n)
{
	uint64_t weights[HUFFMAN_SYMBOLS_MAX], bits = 0;
	unsigned left = 0;

	for (unsigned i = 0; i < n; i++)
		if (counts[i] > 0)
			weights[left++] = counts[i];
	for (; left > 1; left--) {
		for (unsigned end = 0; end < 2; end++) {
			unsigned least = 0;
			uint64_t weight;

			for (unsigned i = 0; i < left - end; i++)
				if (weights[i] < weights[least])
					least = i;
			weight = weights[least];
			weights[least] = weights[left - end - 1];
			weights[left - end - 1] = weight;
		}
		weights[left - 2] += weights[left - 1];
		bits += weights[left - 2];
	}
	return bits;
}

static void
check(const uint32_t *counts, unsigned n, unsigned length_max)
{
	uint8_t lengths[HUFFMAN_SYMBOLS_MAX];
	unsigned used_n = 0;

	memset(lengths, 0xaa, sizeof(lengths));
	huffman_lengths(counts, n, length_max, lengths);
	cr_assert_eq(filled(lengths, n), UINT32_C(1) << 15);
	for (unsigned i = 0; i < n; i++) {
		used_n += counts[i] > 0;
		cr_assert(lengths[i] <= length_max);
		cr_assert(counts[i] == 0 || lengths[i] > 0);
	}
	for (unsigned i = 0; i < n && used_n >= 2; i++)
		cr_assert(counts[i] > 0 || lengths[i] == 0);
	for (unsigned i = n; i < HUFFMAN_SYMBOLS_MAX; i++)
		cr_assert_eq(lengths[i], 0xaa);
}

Test(huffman, lengths_make_a_complete_code_whatever_is_counted)
{
	struct fuzz f = {.state = 1};
	uint32_t counts[HUFFMAN_SYMBOLS_MAX];

	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = 2 + (unsigned)fuzz_below(&f, 287);
		unsigned bits = (unsigned)fuzz_below(&f, 23);
		size_t rare = 1 + fuzz_below(&f, 10);

		for (unsigned i = 0; i < n; i++)
			counts[i] = fuzz_below(&f, rare) > 0
			    ? 0
			    : (uint32_t)fuzz_below(&f, 1u << bits);
		check(counts, n, 15 - (unsigned)fuzz_below(&f, 7));
	}
}

Test(huffman, lengths_are_the_best_when_the_bound_does_not_bite)
{
	struct fuzz f = {.state = 2};
	uint32_t counts[HUFFMAN_SYMBOLS_MAX];
	uint8_t lengths[HUFFMAN_SYMBOLS_MAX];

	for (unsigned round = 0; round < 300; round++) {
		unsigned n = 2 + (unsigned)fuzz_below(&f, 287);

		/* Of 32 at most, none is rarer than in 2^-14. */
		for (unsigned i = 0; i < n; i++)
			counts[i] = 1 + (uint32_t)fuzz_below(&f, 32);
		huffman_lengths(counts, n, 15, lengths);
		cr_assert_eq(cost(counts, lengths, n), least_cost(counts, n));
	}
}

/* Fibonacci's numbers make the deepest trees there are. */
Test(huffman, a_code_deeper_than_the_bound_is_cut_and_costs_little)
{
	uint32_t counts[40] = {1, 1};
	uint8_t lengths[40];

	for (unsigned i = 2; i < 40; i++)
		counts[i] = counts[i - 1] + counts[i - 2];
	for (unsigned n = 2; n <= 40; n++) {
		for (unsigned bound = 6; bound <= 15; bound++) {
			uint64_t least = least_cost(counts, n);

			check(counts, n, bound);
			huffman_lengths(counts, n, bound, lengths);
			/* Deflate's bound is 15, of its small code 7. */
			cr_assert(bound < 12 ||
			    cost(counts, lengths, n) <= least + least / 20);
		}
	}
}

Test(huffman, codes_begin_none_of_each_other)
{
	struct fuzz f = {.state = 3};
	uint32_t counts[60];
	uint8_t lengths[60];
	uint16_t codes[60];

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 60; i++)
			counts[i] = (uint32_t)fuzz_below(
			    &f, (size_t)1 << fuzz_below(&f, 20));
		huffman_lengths(counts, 60, 9, lengths);
		huffman_codes(lengths, 60, codes);
		for (unsigned i = 0; i < 60 * 60; i++) {
			unsigned a = i / 60, b = i % 60;
			unsigned mask = (1u << lengths[a]) - 1;

			if (a == b || lengths[a] == 0 ||
			    lengths[a] > lengths[b])
				continue;
			cr_assert_neq(codes[a], codes[b] & mask);
		}
	}
}

/* RFC 1951 3.2.2 has this example; its codes are written first bit first. */
Test(huffman, codes_are_numbered_as_deflate_does)
{
	static const uint8_t lengths[8] = {3, 3, 3, 3, 3, 2, 4, 4};
	static const uint16_t want[8] = {2, 6, 1, 5, 3, 0, 7, 15};
	uint16_t codes[8];

	huffman_codes(lengths, 8, codes);
	cr_assert_arr_eq(codes, want, sizeof(want));
}
