/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one list of errors.  Names travel in messages (protocol.md §8), so a
 * name is never reused for another meaning; numbers never leave the process.
 */
#ifndef LATENTD_ERRORS_H
#define LATENTD_ERRORS_H

/* X(enumerator, name on the wire, what it means) */
#define LATENTD_ERROR_TABLE(X)                                                 \
	X(OK, "ok", "no error")                                                \
	X(INVALID, "invalid", "a field has a value that is not allowed")       \
	X(PROTOCOL, "protocol", "the bytes are not a message of the protocol") \
	X(VERSION, "version", "the other side speaks another version")         \
	X(MODEL, "model", "no endpoint is configured for this model and task") \
	X(SHAPE, "shape", "shape, dtype and byte count do not fit together")   \
	X(IMAGE, "image", "the image cannot be read")                          \
	X(TOO_LARGE, "too_large", "more bytes or pixels than the limit")       \
	X(BUSY, "busy", "a bound is reached; try again later")                 \
	X(DENIED, "denied", "this identity may not do that")                   \
	X(NOT_FOUND, "not_found", "no such job, key or file")                  \
	X(ENDED, "ended", "the job has ended already")                         \
	X(COLLECTED, "collected", "the job's result was acknowledged before")  \
	X(DROPPED, "dropped", "nobody collected the result in time")           \
	X(CANCELLED, "cancelled", "the producer cancelled the job")            \
	X(EXPIRED, "expired", "the deadline passed before the job was done")   \
	X(ENDPOINT, "endpoint", "the endpoint failed or answered nonsense")    \
	X(REFUSED, "refused", "the endpoint refused the job as faulty")        \
	X(UNREACHABLE, "unreachable", "nobody answers at that address")        \
	X(TIMEOUT, "timeout", "it took longer than the caller allowed")        \
	X(STOPPING, "stopping", "the daemon is shutting down")                 \
	X(UNSUPPORTED, "unsupported", "this combination does not exist")       \
	X(IO, "io", "reading or writing a file or socket failed")              \
	X(MEMORY, "memory", "not enough memory for this job")                  \
	X(INTERNAL, "internal", "a bug in latentd")

enum latentd_err {
#define LATENTD_ERROR_ENUM(e, name, text) LATENTD_ERR_##e,
	LATENTD_ERROR_TABLE(LATENTD_ERROR_ENUM)
#undef LATENTD_ERROR_ENUM
	    LATENTD_ERR_COUNT
};

#define LATENTD_OK LATENTD_ERR_OK

/*
 * latentd_err_name(err):
 * Return the wire name of ${err} ("busy"), or "unknown" out of range.  The
 * string is static.  Any thread.
 */
const char *latentd_err_name(enum latentd_err err);

/*
 * latentd_err_text(err):
 * Return one static English clause that says what ${err} means.  Any thread.
 */
const char *latentd_err_text(enum latentd_err err);

#endif
