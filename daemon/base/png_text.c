/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG specification 11.3.4: tEXt is for Latin-1, iTXt for UTF-8.  Readers
 * disagree about Latin-1, so only ASCII becomes tEXt.  Any thread; no state.
 */
#include "base/png_text.h"

#include <string.h>

bool
png_text_key_valid(const char *key, size_t bytes)
{
	if (bytes == 0 || bytes > 79 || key[0] == ' ' || key[bytes - 1] == ' ')
		return false;
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)key[i];

		if (c < 0x20 || (c >= 0x7f && c < 0xa1))
			return false;
		if (c == ' ' && key[i + 1] == ' ')
			return false;
	}
	return true;
}

/* Length of the UTF-8 character at ${s} (RFC 3629), or 0. */
static size_t
utf8_bytes(const unsigned char *s, size_t left_bytes)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	if (n > left_bytes || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

bool
png_text_value_valid(const char *value, size_t bytes)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n;

	for (size_t i = 0; i < bytes; i += n) {
		n = utf8_bytes(s + i, bytes - i);
		if (n == 0 || s[i] == '\0')
			return false;
	}
	return true;
}

static bool
is_plain(const char *value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)value[i];

		if ((c < 0x20 && c != '\n') || c >= 0x7f)
			return false;
	}
	return true;
}

size_t
png_text_chunk(const struct png_text *text, char *type, uint8_t *out)
{
	/* No compression, and neither language nor translated keyword. */
	static const uint8_t middle[PNG_TEXT_MORE_BYTES] = {0};
	bool plain = is_plain(text->value, text->value_bytes);
	size_t middle_bytes = plain ? 1 : PNG_TEXT_MORE_BYTES;

	memcpy(type, plain ? "tEXt" : "iTXt", 4);
	memcpy(out, text->key, text->key_bytes);
	out += text->key_bytes;
	memcpy(out, middle, middle_bytes);
	if (text->value_bytes > 0)
		memcpy(out + middle_bytes, text->value, text->value_bytes);
	return text->key_bytes + middle_bytes + text->value_bytes;
}
