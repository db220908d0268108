/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds, as uv_hrtime() counts them, in a millisecond. */
#define MS_NS UINT64_C(1000000)

#endif
