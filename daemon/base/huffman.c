/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code lengths by Moffat and Katajainen's method ("In-place calculation of
 * minimum-redundancy codes"): linear in the symbols once they are sorted.
 * Codes that are too long are cut to the bound, and shorter ones lengthened
 * until all fit again.  Any thread; no state.
 */
#include "base/huffman.h"

#include <string.h>

#define SYMBOL_BITS 9u
#define DIGIT_BITS 8u
#define DIGITS_N 4u

/* Put what occurs into ${sorted}, as count << SYMBOL_BITS | symbol, and say how
 * many there are. */
static unsigned
collect(const uint32_t *counts, unsigned symbols_n, uint64_t *sorted)
{
	unsigned used_n = 0;

	for (unsigned i = 0; i < symbols_n; i++) {
		if (counts[i] != 0)
			sorted[used_n++] =
			    (uint64_t)counts[i] << SYMBOL_BITS | i;
	}
	for (unsigned i = 0; used_n < 2; i++) {
		if (counts[i] == 0)
			sorted[used_n++] = UINT64_C(1) << SYMBOL_BITS | i;
	}
	return used_n;
}

/* Sort by count and, because it is stable, among equals by symbol. */
static void
sort(uint64_t *sorted, unsigned n)
{
	uint64_t other[HUFFMAN_SYMBOLS_MAX];
	uint64_t all = 0;

	for (unsigned i = 0; i < n; i++)
		all |= sorted[i];
	for (unsigned digit = 0; digit < DIGITS_N; digit++) {
		unsigned shift = SYMBOL_BITS + digit * DIGIT_BITS;
		unsigned starts[(1u << DIGIT_BITS) + 1] = {0};

		if (all >> shift == 0)
			return;
		for (unsigned i = 0; i < n; i++)
			starts[(sorted[i] >> shift & 0xff) + 1]++;
		for (unsigned i = 1; i < 1u << DIGIT_BITS; i++)
			starts[i] += starts[i - 1];
		for (unsigned i = 0; i < n; i++)
			other[starts[sorted[i] >> shift & 0xff]++] = sorted[i];
		memcpy(sorted, other, n * sizeof(*sorted));
	}
}

/* Join the two lightest until one is left.  An inner node takes the place of
 * what it no longer needs in ${a}: first its weight, then its parent's place. */
static void
join(uint32_t *a, unsigned n)
{
	unsigned leaf = 0, root = 0;

	for (unsigned next = 0; next < n - 1; next++) {
		uint32_t weight = 0;

		for (unsigned child = 0; child < 2; child++) {
			if (leaf >= n || (root < next && a[root] < a[leaf])) {
				weight += a[root];
				a[root++] = next;
			} else {
				weight += a[leaf++];
			}
		}
		a[next] = weight;
	}
}

/* From the parents of the inner nodes to how many leaves each depth has; what
 * lies deeper than ${length_max} counts there. */
static void
count_depths(uint32_t *a, unsigned n, unsigned length_max, uint32_t *of_length)
{
	uint32_t room = 1, inner = 0;
	unsigned depth = 0, node = n - 1;

	a[n - 2] = 0;
	for (unsigned i = n - 2; i-- > 0;)
		a[i] = a[a[i]] + 1;
	while (room > 0) {
		while (node > 0 && a[node - 1] == depth) {
			inner++;
			node--;
		}
		of_length[depth < length_max ? depth : length_max] +=
		    room - inner;
		room = 2 * inner;
		inner = 0;
		depth++;
	}
}

/* Make room for the codes that were cut: as long as there are more than fit,
 * give one of the longest the place beside a shorter one. */
static void
fit(uint32_t *of_length, unsigned length_max)
{
	uint32_t total = 0;

	for (unsigned i = 1; i <= length_max; i++)
		total += of_length[i] << (length_max - i);
	for (; total > UINT32_C(1) << length_max; total--) {
		unsigned i = length_max - 1;

		while (of_length[i] == 0)
			i--;
		of_length[length_max]--;
		of_length[i]--;
		of_length[i + 1] += 2;
	}
}

void
huffman_lengths(const uint32_t *counts, unsigned symbols_n, unsigned length_max,
    uint8_t *lengths)
{
	uint64_t sorted[HUFFMAN_SYMBOLS_MAX] = {0};
	uint32_t a[HUFFMAN_SYMBOLS_MAX] = {0};
	uint32_t of_length[HUFFMAN_LENGTH_MAX + 1] = {0};
	unsigned n = collect(counts, symbols_n, sorted);
	unsigned at = 0;

	sort(sorted, n);
	for (unsigned i = 0; i < n; i++)
		a[i] = (uint32_t)(sorted[i] >> SYMBOL_BITS);
	join(a, n);
	count_depths(a, n, length_max, of_length);
	fit(of_length, length_max);
	memset(lengths, 0, symbols_n);
	/* The rarest first. */
	for (unsigned length = length_max; length > 0; length--) {
		for (uint32_t i = 0; i < of_length[length]; i++) {
			unsigned symbol = sorted[at++] & 0x1ff;

			lengths[symbol] = (uint8_t)length;
		}
	}
}

static uint16_t
reverse(uint32_t code, unsigned length)
{
	uint32_t reversed = 0;

	for (unsigned i = 0; i < length; i++)
		reversed |= (code >> i & 1) << (length - 1 - i);
	return (uint16_t)reversed;
}

void
huffman_codes(const uint8_t *lengths, unsigned symbols_n, uint16_t *codes)
{
	uint32_t of_length[HUFFMAN_LENGTH_MAX + 1] = {0};
	uint32_t next[HUFFMAN_LENGTH_MAX + 2] = {0};

	for (unsigned i = 0; i < symbols_n; i++)
		of_length[lengths[i]]++;
	of_length[0] = 0;
	for (unsigned i = 1; i <= HUFFMAN_LENGTH_MAX; i++)
		next[i] = (next[i - 1] + of_length[i - 1]) << 1;
	for (unsigned i = 0; i < symbols_n; i++)
		codes[i] = reverse(next[lengths[i]]++, lengths[i]);
}
