/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_HTTP_HEAD_H
#define BENCH_HTTP_HEAD_H

#include <stddef.h>

/* Heads of requests and replies may have so much. */
#define HEAD_BYTES_MAX 8192

/*
 * head_end(text, n, body_bytes): the length of the HTTP head that ${text}, of
 * ${n} bytes, begins with, its empty line included, and in ${*body_bytes} what
 * its Content-Length says; 0 when the head is not there whole.
 */
size_t head_end(const char *text, size_t n, size_t *body_bytes);

#endif
