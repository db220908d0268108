/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass, no allocation, no recursion: skipping counts the values still
 * owed at each level.  Source: the msgpack specification's format table.
 */
#include "reader.h"

static size_t
left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

/* Big-endian unsigned of ${width} bytes behind the type byte. */
static bool
big_endian(const struct reader *r, size_t width, uint64_t *value)
{
	uint64_t v = 0;

	if (left(r) < 1 + width)
		return false;
	for (size_t i = 0; i < width; i++)
		v = v << 8 | r->at[1 + i];
	*value = v;
	return true;
}

/*
 * A length or count: ${fix} .. ${fix}+${fix_n}-1 hold it in the type byte,
 * ${first} and the types after it in 1, 2 or 4 bytes, beginning with
 * ${width}.  Returns the bytes of type and length, 0 if it is neither.
 */
static size_t
length(const struct reader *r, unsigned fix, unsigned fix_n, unsigned first,
    size_t width, uint64_t *value)
{
	unsigned type;

	if (left(r) == 0)
		return 0;
	type = r->at[0];
	if (fix_n != 0 && type >= fix && type < fix + fix_n) {
		*value = type - fix;
		return 1;
	}
	for (; width <= 4; first++, width *= 2) {
		if (type == first)
			return big_endian(r, width, value) ? 1 + width : 0;
	}
	return 0;
}

static bool
counted(struct reader *r, size_t head_bytes, uint64_t n, size_t each_bytes,
    uint32_t *out)
{
	if (head_bytes == 0 || n > (left(r) - head_bytes) / each_bytes)
		return false;
	r->at += head_bytes;
	*out = (uint32_t)n;
	return true;
}

bool
reader_map(struct reader *r, uint32_t *entries_n)
{
	uint64_t n = 0;
	size_t head_bytes = length(r, 0x80, 16, 0xde, 2, &n);

	return counted(r, head_bytes, n, 2, entries_n);
}

bool
reader_array(struct reader *r, uint32_t *out)
{
	uint64_t n = 0;
	size_t head_bytes = length(r, 0x90, 16, 0xdc, 2, &n);

	return counted(r, head_bytes, n, 1, out);
}

bool
reader_uint(struct reader *r, uint64_t *value)
{
	if (left(r) == 0)
		return false;
	if (r->at[0] < 0x80) {
		*value = *r->at++;
		return true;
	}
	/* uint 8..64 are 0xcc..0xcf, int 8..64 0xd0..0xd3. */
	if (r->at[0] < 0xcc || r->at[0] > 0xd3)
		return false;
	bool is_signed = r->at[0] >= 0xd0;
	size_t width = (size_t)1 << ((r->at[0] - 0xcc) & 3);
	uint64_t v;

	if (!big_endian(r, width, &v))
		return false;
	if (is_signed && v >> (8 * width - 1) != 0)
		return false;
	*value = v;
	r->at += 1 + width;
	return true;
}

bool
reader_bool(struct reader *r, bool *value)
{
	if (left(r) == 0 || (r->at[0] != 0xc2 && r->at[0] != 0xc3))
		return false;
	*value = *r->at++ == 0xc3;
	return true;
}

static bool
bytes_of(struct reader *r, size_t head_bytes, uint64_t n, const char **at,
    size_t *bytes)
{
	if (head_bytes == 0 || n > left(r) - head_bytes)
		return false;
	*at = (const char *)r->at + head_bytes;
	*bytes = (size_t)n;
	r->at += head_bytes + n;
	return true;
}

bool
reader_str(struct reader *r, const char **at, size_t *bytes)
{
	uint64_t n = 0;
	size_t head_bytes = length(r, 0xa0, 32, 0xd9, 1, &n);

	return bytes_of(r, head_bytes, n, at, bytes);
}

bool
reader_bin(struct reader *r, const char **at, size_t *bytes)
{
	uint64_t n = 0;
	size_t head_bytes = length(r, 0, 0, 0xc4, 1, &n);

	return bytes_of(r, head_bytes, n, at, bytes);
}

/* Fixed sizes of 0xc0..0xdf behind the type byte; 255: not of fixed size. */
static const uint8_t fixed_bytes[32] = {0, 255, 0, 0, 255, 255, 255, 255, 255,
    255, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 255, 255, 255, 255, 255,
    255, 255};

/* Pass over a value that holds no others: numbers, nil, strings, ext. */
static bool
skip_leaf(struct reader *r)
{
	const char *at;
	size_t bytes, head_bytes;
	uint64_t n = 0;
	unsigned type;

	if (reader_str(r, &at, &bytes) || reader_bin(r, &at, &bytes))
		return true;
	if (left(r) == 0)
		return false;
	type = r->at[0];
	if (type < 0x80 || type >= 0xe0) {
		r->at++;
		return true;
	}
	if (type < 0xc0)
		return false;
	if (fixed_bytes[type - 0xc0] != 255) {
		if (left(r) < 1u + fixed_bytes[type - 0xc0])
			return false;
		r->at += 1 + fixed_bytes[type - 0xc0];
		return true;
	}
	/* ext 8..32: a length, a type byte, the bytes. */
	head_bytes = length(r, 0, 0, 0xc7, 1, &n);
	return bytes_of(r, head_bytes, n + 1, &at, &bytes);
}

bool
reader_skip(struct reader *r)
{
	struct reader start = *r;
	uint64_t owed[READER_MAX_DEPTH + 1] = {1};
	unsigned depth = 0;
	uint32_t n;

	for (;;) {
		while (owed[depth] == 0) {
			if (depth == 0)
				return true;
			depth--;
		}
		owed[depth]--;
		uint64_t inner;

		if (reader_map(r, &n))
			inner = (uint64_t)n * 2;
		else if (reader_array(r, &n))
			inner = n;
		else if (skip_leaf(r))
			continue;
		else
			break;
		if (depth == READER_MAX_DEPTH)
			break;
		owed[++depth] = inner;
	}
	*r = start;
	return false;
}
