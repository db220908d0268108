/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_FATE_H
#define DAEMON_FATE_H

#include <stdbool.h>

/*
 * What follows from how a request ended: for the job and for the endpoint.
 * This is the one place that knows; the table is in fate.c.
 */
enum fate {
	FATE_DONE = 0, /* a right reply */
	FATE_JOB, /* the job is wrong: it fails, wherever it is sent */
	FATE_AGAIN, /* it went wrong there: the job tries again, and it counts
	                * against both */
	FATE_LATE, /* it took too long: as AGAIN, and the endpoint gets less */
	FATE_LOAD, /* turned away for load: the endpoint gets less */
	FATE_COLD, /* not there yet, or no more: starting, or a proxy without
	                * it */
	FATE_AWAY, /* nobody there */
	FATE_STOP, /* the endpoint is not set up rightly: nothing is sent there
	                * until somebody looks */
	FATE_OURS, /* the daemon's own trouble: says nothing of the endpoint */
	FATE_COUNT
};

/* Where a request was when it ended. */
enum phase {
	PHASE_CONNECT = 0,
	PHASE_UPLOAD,
	PHASE_THINK, /* sent; no byte of the reply yet */
	PHASE_DOWNLOAD,
	PHASE_COUNT
};

/* fate_name(fate): "again"; phase_name(phase): "connect". */
const char *fate_name(enum fate fate);
const char *phase_name(enum phase phase);

/*
 * fate_of_status(status, out_of_memory): of a whole reply other than 200;
 * ${out_of_memory}: its text says that memory was wanting, as endpoints do with
 * 400.
 * fate_of_curl(code, phase): of a request that libcurl gave up with ${code}
 * (CURLcode, not OK).
 */
enum fate fate_of_status(long status, bool out_of_memory);
enum fate fate_of_curl(int code, enum phase phase);

/* fate_counts(fate): whether it is one of the attempts that a job has; all
 * others are waited out. */
bool fate_counts(enum fate fate);

#endif
