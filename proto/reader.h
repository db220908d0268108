/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A msgpack reader that never allocates and never trusts a count: each
 * function takes one value from the front of the bytes that are left.
 * msgpack-c's own decoder reserves gigabytes for a five-byte array header
 * (docs/architecture.md §7), so headers from outside are read with this one.
 */
#ifndef PROTO_READER_H
#define PROTO_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

/*
 * Each returns false, with ${r} unchanged, when the next value is of another
 * type, is cut off, or (arrays and maps) claims more elements than bytes are
 * left for at one byte an element, two for a map's entry.
 */
bool reader_map(struct reader *r, uint32_t *entries_n);
bool reader_array(struct reader *r, uint32_t *n);
bool reader_uint(struct reader *r, uint64_t *value);
bool reader_bool(struct reader *r, bool *value);
bool reader_str(struct reader *r, const char **at, size_t *bytes);
bool reader_bin(struct reader *r, const char **at, size_t *bytes);

/* reader_skip(r): pass over one value of any type, nested at most
 * READER_MAX_DEPTH deep. */
#define READER_MAX_DEPTH 4
bool reader_skip(struct reader *r);

#endif
