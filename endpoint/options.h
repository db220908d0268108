/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_OPTIONS_H
#define ENDPOINT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "faults.h"
#include "latentd/errors.h"
#include "reason.h"

#define OPTIONS_TOKEN_BYTES 1024

/* The command line. */
struct options {
	const char *listen;
	unsigned parallel;
	uint64_t service_ms;
	uint64_t max_body_bytes;
	size_t cache_bytes;
	unsigned fps;
	char token[OPTIONS_TOKEN_BYTES]; /* "": none */
	struct faults faults;
	bool control;
	bool verbose;
	bool help;
	bool version;
};

/*
 * options_parse(argc, argv, options, why):
 * Read the command line over the defaults, and the token's file.  ${options}
 * points into ${argv}.  Fails with INVALID (a sentence for the user) or IO.
 */
enum latentd_err options_parse(
    int argc, char **argv, struct options *options, struct reason *why);

/* options_usage(): the text of --help. */
const char *options_usage(void);

#endif
