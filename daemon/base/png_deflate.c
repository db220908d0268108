/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a good filter leaves of a picture hardly repeats, so looking for matches
 * takes long and finds nothing; but flat parts leave zeros.  So a piece is
 * literals and runs of zeros, which are found eight bytes at a time, with codes
 * made for it.  Codes have at most 14 bits, so that four literals and what is
 * left of a byte fit 64 bits and are stored at once.
 */
#include "base/png_deflate.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/huffman.h"

#define LITERALS_N 256u
#define BLOCK_ENDS 256u
#define TABLES_N 8u
#define SYMBOLS_N 286u
#define DISTANCES_N 2u
#define CODE_BITS_MAX 14u
#define LENGTHS_N 19u /* symbols that code lengths are coded with */
#define LENGTH_BITS_MAX 7u

#define MATCH_MIN 3u
#define MATCH_MAX 258u
/* Shorter runs are cheaper as literals where zeros are frequent; one of twice
 * eight less one cannot be missed. */
#define RUN_MIN 12u
/* Runs are many where there is one in so many bytes. */
#define MANY_BYTES 64u

/* So many literals, then so many zeros. */
struct stretch {
	uint32_t literals_n;
	uint32_t zeros_n; /* 0 at the end, else RUN_MIN or more */
};

/* A symbol's code above the number of its bits: one load gets both, and adding
 * two of them adds the numbers. */
#define CODE(bits, bits_n) ((uint32_t)(bits) << 8 | (bits_n))
#define CODE_BITS(code) ((uint64_t)((code) >> 8))
#define CODE_BITS_N(code) ((code)&63)

struct png_deflate_work {
	size_t bytes_max;
	uint32_t counts[SYMBOLS_N];
	uint8_t lengths[SYMBOLS_N + DISTANCES_N];
	uint32_t codes[SYMBOLS_N];
	size_t stretches_n;
	struct stretch stretches[];
};

struct sink {
	uint64_t bits;
	unsigned bits_n;
	uint8_t *at;
};

/* Eight bytes, the first lowest. */
static uint64_t
load64(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

/* ---- what a piece consists of ---- */

/* Where the zeros begin that end before ${at}, not before ${start}. */
static size_t
zeros_begin(const uint8_t *bytes, size_t start, size_t at)
{
	uint64_t word;

	if (at - start >= 8 && (word = load64(bytes + at - 8)) != 0)
		return at - (size_t)__builtin_clzll(word) / 8;
	while (at > start && bytes[at - 1] == 0)
		at--;
	return at;
}

static size_t
zeros_end(const uint8_t *bytes, size_t at, size_t n)
{
	for (; n - at >= 8; at += 8) {
		uint64_t word = load64(bytes + at);

		if (word != 0)
			return at + (size_t)__builtin_ctzll(word) / 8;
	}
	while (at < n && bytes[at] == 0)
		at++;
	return at;
}

/* The first of the eights from ${at} on that is all zeros, or one of the last
 * fifteen bytes. */
static size_t
find_zeros(const uint8_t *bytes, size_t at, size_t n)
{
	for (; n - at >= 64; at += 64) {
		bool found = false;

		/* Without a branch, several at a time. */
		for (size_t i = 0; i < 64; i += 8)
			found |= load64(bytes + at + i) == 0;
		if (found)
			break;
	}
	while (n - at >= 8 && load64(bytes + at) != 0)
		at += 8;
	return at;
}

/* Find runs of zeros; returns how many zeros are in them. */
static size_t
find_stretches(struct png_deflate_work *w, const uint8_t *bytes, size_t n)
{
	size_t start = 0, at = 0, zeros_n = 0, from;

	w->stretches_n = 0;
	for (;;) {
		at = find_zeros(bytes, at, n);
		if (n - at < 8)
			break;
		from = zeros_begin(bytes, start, at);
		at = zeros_end(bytes, at + 8, n);
		if (at - from < RUN_MIN)
			continue;
		w->stretches[w->stretches_n++] = (struct stretch){
		    (uint32_t)(from - start), (uint32_t)(at - from)};
		zeros_n += at - from;
		start = at;
	}
	w->stretches[w->stretches_n++] =
	    (struct stretch){(uint32_t)(n - start), 0};
	return zeros_n;
}

/* Into eight tables, so that equal neighbours do not wait for each other. */
static void
count_literals(uint32_t (*counts)[LITERALS_N], const uint8_t *bytes, size_t n)
{
	size_t i = 0;

	for (; n - i >= TABLES_N; i += TABLES_N) {
		counts[0][bytes[i]]++;
		counts[1][bytes[i + 1]]++;
		counts[2][bytes[i + 2]]++;
		counts[3][bytes[i + 3]]++;
		counts[4][bytes[i + 4]]++;
		counts[5][bytes[i + 5]]++;
		counts[6][bytes[i + 6]]++;
		counts[7][bytes[i + 7]]++;
	}
	for (; i < n; i++)
		counts[0][bytes[i]]++;
}

/* How much of a run of ${left} zeros the next match takes, so that nothing is
 * left that is too short for one. */
static uint32_t
next_match(uint32_t left)
{
	if (left <= MATCH_MAX)
		return left;
	return left < MATCH_MAX + MATCH_MIN ? left - MATCH_MIN : MATCH_MAX;
}

/* RFC 1951 3.2.5: four symbols for each number of extra bits. */
static unsigned
length_symbol(uint32_t length, unsigned *extra_n)
{
	uint32_t rest = length - MATCH_MIN;

	*extra_n = 0;
	if (length == MATCH_MAX)
		return 285;
	if (rest < 8)
		return 257 + rest;
	*extra_n = 29u - (unsigned)__builtin_clz(rest);
	return 257 + 4 * *extra_n + (rest >> *extra_n);
}

/* A run is a zero and what repeats it. */
static void
count_run(struct png_deflate_work *w, uint32_t zeros_n)
{
	uint32_t left = zeros_n - 1, length;
	unsigned extra_n;

	w->counts[0]++;
	for (; left > 0; left -= length) {
		length = next_match(left);
		w->counts[length_symbol(length, &extra_n)]++;
	}
}

static void
count(struct png_deflate_work *w, const uint8_t *bytes, size_t n)
{
	uint32_t literals[TABLES_N][LITERALS_N];
	size_t zeros_n = find_stretches(w, bytes, n);
	bool many = w->stretches_n > n / MANY_BYTES;

	memset(literals, 0, sizeof(literals));
	memset(w->counts, 0, sizeof(w->counts));
	/* Counting all and taking the zeros back is faster than skipping many
	 * short runs. */
	if (many)
		count_literals(literals, bytes, n);
	for (size_t i = 0; i < w->stretches_n; i++) {
		const struct stretch *s = &w->stretches[i];

		if (!many)
			count_literals(literals, bytes, s->literals_n);
		bytes += s->literals_n + s->zeros_n;
		if (s->zeros_n > 0)
			count_run(w, s->zeros_n);
	}
	for (unsigned t = 0; t < TABLES_N; t++)
		for (unsigned i = 0; i < LITERALS_N; i++)
			w->counts[i] += literals[t][i];
	if (many)
		w->counts[0] -= (uint32_t)zeros_n;
	w->counts[BLOCK_ENDS] = 1;
	huffman_lengths(w->counts, SYMBOLS_N, CODE_BITS_MAX, w->lengths);
}

/* ---- bits ---- */

static void
flush(struct sink *s)
{
	uint64_t word = htole64(s->bits);

	memcpy(s->at, &word, sizeof(word));
	s->at += s->bits_n / 8;
	s->bits >>= s->bits_n & ~7u;
	s->bits_n &= 7;
}

/* At most 56 bits. */
static void
put(struct sink *s, uint64_t bits, unsigned bits_n)
{
	s->bits |= bits << s->bits_n;
	s->bits_n += bits_n;
	flush(s);
}

static void
put_code(struct sink *s, uint32_t code)
{
	put(s, CODE_BITS(code), CODE_BITS_N(code));
}

static void
put_literals(
    struct sink *sink, const uint32_t *codes, const uint8_t *bytes, size_t n)
{
	struct sink s = *sink;
	size_t i = 0;

	for (; n - i >= 4; i += 4) {
		uint32_t a = codes[bytes[i]], b = codes[bytes[i + 1]];
		uint32_t c = codes[bytes[i + 2]], d = codes[bytes[i + 3]];
		uint64_t ab = CODE_BITS(a) | CODE_BITS(b) << CODE_BITS_N(a);
		uint64_t cd = CODE_BITS(c) | CODE_BITS(d) << CODE_BITS_N(c);

		put(&s, ab | cd << CODE_BITS_N(a + b),
		    CODE_BITS_N(a + b + c + d));
	}
	for (; i < n; i++)
		put_code(&s, codes[bytes[i]]);
	*sink = s;
}

static void
put_run(struct sink *s, const uint32_t *codes, uint32_t zeros_n)
{
	uint32_t left = zeros_n - 1, length;
	unsigned extra_n;

	put_code(s, codes[0]);
	for (; left > 0; left -= length) {
		length = next_match(left);
		put_code(s, codes[length_symbol(length, &extra_n)]);
		/* Behind the extra bits the distance 1, whose code is 0. */
		put(s, (length - MATCH_MIN) & ((1u << extra_n) - 1),
		    extra_n + 1);
	}
}

/* ---- the head of a block ---- */

/* A symbol of the code of code lengths and what follows it. */
struct item {
	uint8_t symbol, extra, extra_n;
};

/* RFC 1951 3.2.7: 16 repeats the last length, 17 and 18 zeros. */
static size_t
pack_lengths(const uint8_t *lengths, unsigned n, struct item *items)
{
	size_t items_n = 0;
	unsigned run, i = 0;

	while (i < n) {
		uint8_t length = lengths[i];

		for (run = 1; i + run < n && lengths[i + run] == length;)
			run++;
		i += run;
		if (length != 0) {
			items[items_n++] = (struct item){length, 0, 0};
			run--;
		}
		while (run >= 3) {
			unsigned most = length != 0 ? 6 : run > 10 ? 138 : 10;
			unsigned part = run < most ? run : most;

			if (length != 0)
				items[items_n] =
				    (struct item){16, (uint8_t)(part - 3), 2};
			else if (most == 10)
				items[items_n] =
				    (struct item){17, (uint8_t)(part - 3), 3};
			else
				items[items_n] =
				    (struct item){18, (uint8_t)(part - 11), 7};
			items_n++;
			run -= part;
		}
		for (; run > 0; run--)
			items[items_n++] = (struct item){length, 0, 0};
	}
	return items_n;
}

struct head {
	struct item items[SYMBOLS_N + DISTANCES_N];
	size_t items_n;
	unsigned symbols_n; /* up to the last that occurs */
	uint8_t lengths[LENGTHS_N];
	unsigned lengths_n; /* in the order below, up to the last */
};

static const uint8_t lengths_order[LENGTHS_N] = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

static void
make_head(struct png_deflate_work *w, struct head *h)
{
	uint32_t counts[LENGTHS_N] = {0};

	h->symbols_n = SYMBOLS_N;
	while (w->lengths[h->symbols_n - 1] == 0)
		h->symbols_n--;
	/* Two distances of one bit, a whole code, though only one is used. */
	w->lengths[h->symbols_n] = w->lengths[h->symbols_n + 1] = 1;
	h->items_n =
	    pack_lengths(w->lengths, h->symbols_n + DISTANCES_N, h->items);
	for (size_t i = 0; i < h->items_n; i++)
		counts[h->items[i].symbol]++;
	huffman_lengths(counts, LENGTHS_N, LENGTH_BITS_MAX, h->lengths);
	h->lengths_n = LENGTHS_N;
	while (h->lengths[lengths_order[h->lengths_n - 1]] == 0)
		h->lengths_n--;
}

static void
put_head(struct sink *s, const struct head *h, bool is_last)
{
	uint16_t codes[LENGTHS_N];

	huffman_codes(h->lengths, LENGTHS_N, codes);
	/* 2: a block with codes of its own. */
	put(s, (is_last ? 1u : 0u) | 2u << 1, 3);
	put(s, h->symbols_n - 257, 5);
	put(s, DISTANCES_N - 1, 5);
	put(s, h->lengths_n - 4, 4);
	for (unsigned i = 0; i < h->lengths_n; i++)
		put(s, h->lengths[lengths_order[i]], 3);
	for (size_t i = 0; i < h->items_n; i++) {
		const struct item *item = &h->items[i];

		put(s, codes[item->symbol], h->lengths[item->symbol]);
		put(s, item->extra, item->extra_n);
	}
}

/* ---- blocks ---- */

struct png_deflate_work *
png_deflate_create(size_t bytes_max)
{
	/* One without zeros may stand behind those that have them. */
	size_t stretches_max = bytes_max / RUN_MIN + 1;
	struct png_deflate_work *w;

	assert(bytes_max > 0 && bytes_max <= PNG_DEFLATE_MAX_BYTES);
	w = malloc(sizeof(*w) + stretches_max * sizeof(w->stretches[0]));
	if (w != NULL)
		w->bytes_max = bytes_max;
	return w;
}

void
png_deflate_destroy(struct png_deflate_work *w)
{
	free(w);
}

static void
make_codes(struct png_deflate_work *w)
{
	uint16_t bits[SYMBOLS_N];

	huffman_codes(w->lengths, SYMBOLS_N, bits);
	for (unsigned i = 0; i < SYMBOLS_N; i++)
		w->codes[i] = CODE(bits[i], w->lengths[i]);
}

size_t
png_deflate_piece(struct png_deflate *stream, struct png_deflate_work *w,
    const uint8_t *bytes, size_t n, bool is_last, uint8_t *out)
{
	struct sink s = {stream->bits, stream->bits_n, out};
	struct head head;

	assert(n > 0 && n <= w->bytes_max);
	count(w, bytes, n);
	make_codes(w);
	make_head(w, &head);
	put_head(&s, &head, is_last);
	for (size_t i = 0; i < w->stretches_n; i++) {
		const struct stretch *stretch = &w->stretches[i];

		put_literals(&s, w->codes, bytes, stretch->literals_n);
		bytes += stretch->literals_n + stretch->zeros_n;
		if (stretch->zeros_n > 0)
			put_run(&s, w->codes, stretch->zeros_n);
	}
	put_code(&s, w->codes[BLOCK_ENDS]);
	if (is_last && s.bits_n > 0)
		put(&s, 0, 8 - s.bits_n);
	stream->bits = s.bits;
	stream->bits_n = s.bits_n;
	return (size_t)(s.at - out);
}

uint64_t
png_deflate_cost(struct png_deflate_work *w, const uint8_t *bytes, size_t n)
{
	uint64_t bits = 0;

	assert(n > 0 && n <= w->bytes_max);
	count(w, bytes, n);
	/* A length's extra bits, at most 5, are not worth looking up. */
	for (unsigned i = 0; i < SYMBOLS_N; i++)
		bits += (uint64_t)w->counts[i] * w->lengths[i];
	return bits;
}
