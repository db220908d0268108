/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What transfer.c (requests) and transfer_judge.c (what they came to) share,
 * and nobody else includes.
 */
#ifndef DAEMON_TRANSFER_PRIVATE_H
#define DAEMON_TRANSFER_PRIVATE_H

#include <curl/curl.h>

#include "endpoint.h"
#include "transfer.h"

#define HEADER_VALUE_BYTES 256u

struct transfer {
	struct transfers *ts;
	struct attempt *attempt;
	CURL *easy;
	struct curl_slist *headers;
	nng_msg *reply;
	size_t front_bytes;
	bool too_large; /* more came than can be right */
	bool no_memory;
	char content_type[HEADER_VALUE_BYTES];
	char shape[HEADER_VALUE_BYTES];
	char dtype[HEADER_VALUE_BYTES];
	char url[LATENTD_MAX_URL_BYTES + REMOTE_QUERY_BYTES];
	char error[CURL_ERROR_SIZE];
};

/*
 * transfer_judge(t, code, verdict): ${t} has ended with ${code}.  When the
 * verdict is OK, the reply belongs to the attempt.
 */
void transfer_judge(struct transfer *t, CURLcode code, struct verdict *verdict);

#endif
