/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_DEFLATE_H
#define BASE_PNG_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A deflate stream (RFC 1951) of filtered pixels in pieces, each one block:
 * Huffman codes and runs of zeros, nothing else.
 */
struct png_deflate {
	uint64_t bits; /* not yet a byte, lowest first */
	unsigned bits_n; /* below 8 between pieces */
};

/* The most bytes of one piece, and what it may become at worst: a code of 14
 * bits for each, and the block's head. */
#define PNG_DEFLATE_MAX_BYTES ((size_t)1 << 20)
#define PNG_DEFLATE_ROOM(n) ((n) / 4 * 7 + 2048)

/*
 * png_deflate_create(bytes_max): What png_deflate_piece and png_deflate_cost
 * work in, for pieces of at most ${bytes_max}; one thread at a time.  NULL when
 * memory is out.  png_deflate_destroy() frees it, NULL too.
 */
struct png_deflate_work;
struct png_deflate_work *png_deflate_create(size_t bytes_max);
void png_deflate_destroy(struct png_deflate_work *);

/*
 * png_deflate_piece(stream, work, bytes, n, is_last, out):
 * Write ${bytes}, 1 to what ${work} is for, as the next block, the final one
 * when ${is_last}, and return how many bytes of ${out} are full; it has
 * PNG_DEFLATE_ROOM(${n}) bytes.  ${stream} is zeros at first.
 */
size_t png_deflate_piece(struct png_deflate *stream,
    struct png_deflate_work *work, const uint8_t *bytes, size_t n, bool is_last,
    uint8_t *out);

/* png_deflate_cost(work, bytes, n): how many bits such a block would take. */
uint64_t png_deflate_cost(
    struct png_deflate_work *work, const uint8_t *bytes, size_t n);

#endif
