/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes and mutations that are the same everywhere. */
#ifndef UNIT_FUZZ_H
#define UNIT_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fuzz {
	uint64_t state; /* never 0 */
};

/* splitmix64: good enough, and one line long. */
static inline uint64_t
fuzz_next(struct fuzz *f)
{
	uint64_t x = f->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* 0 to ${n} - 1. */
static inline size_t
fuzz_below(struct fuzz *f, size_t n)
{
	assert(n > 0);
	return (size_t)(fuzz_next(f) % n);
}

/* Where msgpack's formats begin and numbers turn over. */
static inline uint8_t
fuzz_byte(struct fuzz *f)
{
	static const uint8_t interesting[] = {0x00, 0x01, 0x7f, 0x80, 0x8f,
	    0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xc4, 0xc6, 0xc7, 0xc9,
	    0xca, 0xcc, 0xcf, 0xd0, 0xd3, 0xd4, 0xd8, 0xd9, 0xda, 0xdb, 0xdc,
	    0xdd, 0xde, 0xdf, 0xe0, 0xff};

	return fuzz_below(f, 2) == 0
	    ? (uint8_t)fuzz_next(f)
	    : interesting[fuzz_below(f, sizeof(interesting))];
}

/*
 * fuzz_mutate(f, data, bytes, room_bytes): change, insert, drop or repeat one
 * stretch of ${data}; return its new length, at most ${room_bytes}.
 */
static inline size_t
fuzz_mutate(struct fuzz *f, uint8_t *data, size_t bytes, size_t room_bytes)
{
	size_t at = fuzz_below(f, bytes + 1), n = 1 + fuzz_below(f, 8);

	switch (fuzz_below(f, 5)) {
	case 0:
		if (at < bytes)
			data[at] ^= (uint8_t)(1u << fuzz_below(f, 8));
		return bytes;
	case 1:
		if (at < bytes)
			data[at] = fuzz_byte(f);
		return bytes;
	case 2:
		if (bytes + n > room_bytes)
			return bytes;
		memmove(data + at + n, data + at, bytes - at);
		for (size_t i = 0; i < n; i++)
			data[at + i] = fuzz_byte(f);
		return bytes + n;
	case 3:
		if (n > bytes - at)
			n = bytes - at;
		memmove(data + at, data + at + n, bytes - at - n);
		return bytes - n;
	default:
		if (n > bytes - at)
			n = bytes - at;
		if (bytes + n > room_bytes)
			return bytes;
		memmove(data + at + n, data + at, bytes - at);
		return bytes + n;
	}
}

#endif
