/* SPDX-License-Identifier: Apache-2.0 */
#include "fate.h"

#include <stddef.h>

#include <curl/curl.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define ANY_PHASE (-1)

/* The first row that fits counts; the last one fits everything. */
static const struct {
	long from, to;
	enum fate fate;
} statuses[] = {
    {301, 308, FATE_STOP}, /* the URL is not the final one */
    {400, 400, FATE_JOB}, {401, 401, FATE_STOP}, /* the token */
    {402, 402, FATE_STOP}, /* the bill */
    {403, 405, FATE_STOP}, /* the token's rights; the path; the method */
    {408, 408, FATE_AGAIN}, {410, 410, FATE_STOP}, /* gone for good */
    {413, 415, FATE_JOB}, {422, 422, FATE_JOB}, {425, 425, FATE_AGAIN},
    {429, 429, FATE_LOAD}, {400, 499, FATE_JOB},
    {502, 503, FATE_COLD}, /* Hugging Face's proxy, while it starts or when its
                            * queue is full */
    {504, 504, FATE_LATE}, {500, 599, FATE_AGAIN},
    {0, 999, FATE_AGAIN}, /* 1xx, 2xx but 200: no reply of the contract */
};

static const struct {
	int code;
	int phase;
	enum fate fate;
} codes[] = {
    {CURLE_COULDNT_RESOLVE_HOST, ANY_PHASE, FATE_AWAY},
    {CURLE_COULDNT_RESOLVE_PROXY, ANY_PHASE, FATE_AWAY},
    {CURLE_COULDNT_CONNECT, ANY_PHASE, FATE_AWAY},
    {CURLE_OPERATION_TIMEDOUT, PHASE_CONNECT, FATE_AWAY},
    {CURLE_OPERATION_TIMEDOUT, PHASE_THINK, FATE_LATE},
    {CURLE_OPERATION_TIMEDOUT, ANY_PHASE, FATE_AGAIN},
    {CURLE_OUT_OF_MEMORY, ANY_PHASE, FATE_OURS},
    {CURLE_PEER_FAILED_VERIFICATION, ANY_PHASE, FATE_STOP},
    {CURLE_SSL_CACERT_BADFILE, ANY_PHASE, FATE_STOP},
    {CURLE_URL_MALFORMAT, ANY_PHASE, FATE_STOP},
    /* Later it is what curl calls bytes that are no HTTP. */
    {CURLE_UNSUPPORTED_PROTOCOL, PHASE_CONNECT, FATE_STOP},
    {CURLE_SSL_CONNECT_ERROR, ANY_PHASE, FATE_AWAY},
    /* Reset before it was sent: the process died, or its backlog is full. */
    {CURLE_RECV_ERROR, PHASE_CONNECT, FATE_AWAY},
    {CURLE_SEND_ERROR, PHASE_CONNECT, FATE_AWAY},
};

const char *
fate_name(enum fate fate)
{
	static const char *const names[FATE_COUNT] = {"done", "job", "again",
	    "late", "load", "cold", "away", "stop", "ours"};

	return names[fate];
}

const char *
phase_name(enum phase phase)
{
	static const char *const names[PHASE_COUNT] = {
	    "connect", "upload", "think", "download"};

	return names[phase];
}

enum fate
fate_of_status(long status, bool out_of_memory)
{
	size_t i = 0;

	if (out_of_memory && status >= 400)
		return FATE_AGAIN;
	while (i < N(statuses) - 1 &&
	    (status < statuses[i].from || status > statuses[i].to))
		i++;
	return statuses[i].fate;
}

enum fate
fate_of_curl(int code, enum phase phase)
{
	for (size_t i = 0; i < N(codes); i++) {
		if (codes[i].code == code &&
		    (codes[i].phase == ANY_PHASE ||
			codes[i].phase == (int)phase))
			return codes[i].fate;
	}
	return FATE_AGAIN;
}

bool
fate_counts(enum fate fate)
{
	/* A job that no endpoint has time for, or whose reply the daemon has no
	 * memory for, would otherwise be tried for ever. */
	return fate == FATE_AGAIN || fate == FATE_LATE || fate == FATE_OURS;
}
