/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata at the tail of a SUBMIT body: text that goes into the PNG.  It
 * is not in the header because one ComfyUI workflow alone passes 16 KiB.
 */
#include <assert.h>
#include <string.h>

#include "message.h"

static uint64_t
length_of(const uint8_t *at)
{
	return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 |
	    (uint64_t)at[3] << 24;
}

enum latentd_err
metadata_next(const uint8_t **at, const uint8_t *end, struct text *key,
    struct text *value, struct reason *why)
{
	size_t left_bytes = (size_t)(end - *at), key_bytes;
	uint64_t value_bytes;

	key->at = NULL;
	if (left_bytes == 0)
		return LATENTD_OK;
	key_bytes = (*at)[0];
	if (key_bytes == 0 || key_bytes > 79 || left_bytes < 5 + key_bytes)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "metadata: an entry's key has %zu bytes (1 to 79 are "
		    "allowed) with %zu left",
		    key_bytes, left_bytes);
	value_bytes = length_of(*at + 1 + key_bytes);
	if (value_bytes > left_bytes - 5 - key_bytes)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "metadata: a value promises %llu bytes with %zu left",
		    (unsigned long long)value_bytes,
		    left_bytes - 5 - key_bytes);
	key->at = (const char *)*at + 1;
	key->bytes = key_bytes;
	value->at = (const char *)*at + 5 + key_bytes;
	value->bytes = (size_t)value_bytes;
	*at += 5 + key_bytes + value_bytes;
	return LATENTD_OK;
}

size_t
metadata_put_bytes(struct text key, struct text value)
{
	return 5 + key.bytes + value.bytes;
}

size_t
metadata_put(uint8_t *buf, struct text key, struct text value)
{
	assert(key.bytes > 0 && key.bytes <= 79 && value.bytes <= UINT32_MAX);
	buf[0] = (uint8_t)key.bytes;
	memcpy(buf + 1, key.at, key.bytes);
	for (unsigned i = 0; i < 4; i++)
		buf[1 + key.bytes + i] = (uint8_t)(value.bytes >> 8 * i & 0xff);
	if (value.bytes > 0)
		memcpy(buf + 5 + key.bytes, value.at, value.bytes);
	return metadata_put_bytes(key, value);
}
