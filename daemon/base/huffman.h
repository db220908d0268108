/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HUFFMAN_H
#define BASE_HUFFMAN_H

#include <stdint.h>

#define HUFFMAN_SYMBOLS_MAX 288u
#define HUFFMAN_LENGTH_MAX 15u

/*
 * huffman_lengths(counts, symbols_n, length_max, lengths):
 * Set ${lengths}[i], in bits, to that of symbol i in a prefix code that makes a
 * text with ${counts}[i] of each as short as a code of at most ${length_max}
 * bits a symbol can, but for what the bound costs.  0 for what does not occur.
 * The code is complete, so that every reader takes it: where fewer than two
 * symbols occur, the first others get a bit too.  ${symbols_n} from 2 to
 * HUFFMAN_SYMBOLS_MAX, ${length_max} to HUFFMAN_LENGTH_MAX and at least
 * log2(${symbols_n}), the counts' sum below 2^31.
 */
void huffman_lengths(const uint32_t *counts, unsigned symbols_n,
    unsigned length_max, uint8_t *lengths);

/*
 * huffman_codes(lengths, symbols_n, codes):
 * Set ${codes}[i] to the canonical code of symbol i as RFC 1951 numbers them,
 * its first bit lowest, as deflate packs them.
 */
void huffman_codes(const uint8_t *lengths, unsigned symbols_n, uint16_t *codes);

#endif
