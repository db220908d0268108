/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what the daemon answers, and showing it on a terminal. */
#ifndef CLIENT_CTL_JSON_H
#define CLIENT_CTL_JSON_H

#include <stdint.h>

#include <jansson.h>

/* ctl_json_load(text): the object in ${text}, to be released with json_decref();
 * NULL after saying that there is none. */
json_t *ctl_json_load(const char *text);

/* The member ${key} of ${object}; 0 or "" where it is missing or no number or
 * string. */
intmax_t ctl_json_number(const json_t *object, const char *key);
const char *ctl_json_string(const json_t *object, const char *key);

/* ctl_json_print(s): write what the daemon says to standard output, without
 * control characters. */
void ctl_json_print(const char *s);

/* ctl_json_duration(text, ms): "250 ms", "3.2 s", "4 min 5 s", "3 h 10 min",
 * "2 d 4 h".  Returns ${text}. */
#define CTL_JSON_DURATION_BYTES 48
char *ctl_json_duration(char text[CTL_JSON_DURATION_BYTES], intmax_t ms);

/* ctl_json_short(text, ms): the same in at most six letters: "4m05s". */
char *ctl_json_short(char text[CTL_JSON_DURATION_BYTES], intmax_t ms);

#endif
