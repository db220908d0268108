/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PIXELS_H
#define DAEMON_PIXELS_H

#include <stdint.h>

#define PIXELS_SIZES 32u

/* pixels_size(px): the size class of ${px} pixels, each twice the one before;
 * below PIXELS_SIZES. */
static inline unsigned
pixels_size(uint64_t px)
{
	unsigned size = 0;

	while (px > 1 && size < PIXELS_SIZES - 1) {
		px >>= 1;
		size++;
	}
	return size;
}

#endif
