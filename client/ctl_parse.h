/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of options.  ${option} is its name without the dashes, for the error
 * that is printed before they return false; the output is then unchanged,
 * except ${choice}.
 */
#ifndef CLIENT_CTL_PARSE_H
#define CLIENT_CTL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"

/* ctl_parse_choice(option, value, names, names_n, choice): the index of
 * ${value} in ${names}. */
bool ctl_parse_choice(const char *option, const char *value,
    const char *const *names, size_t names_n, size_t *choice);

/* ctl_parse_pixels(option, value, px): a side, 1 to LATENTD_MAX_SIDE_PX. */
bool ctl_parse_pixels(const char *option, const char *value, uint32_t *px);

/* ctl_parse_seconds(option, value, ms): 0 to a year. */
bool ctl_parse_seconds(const char *option, const char *value, int64_t *ms);

/* Of --deadline, --busy-timeout and --priority, as struct latentd_request has
 * them. */
bool ctl_parse_deadline(const char *value, uint64_t *ms);
bool ctl_parse_busy_timeout(const char *value, uint32_t *ms);
bool ctl_parse_priority(const char *value, enum latentd_priority *priority);

#endif
