/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the spool holds of a job, as bytes; pure, no I/O.
 *
 * A record is
 *
 *   2  magic "LS"
 *   1  version of the record, 1
 *   1  kind, see below
 *   4  CRC32C, little-endian, of the whole record without these four bytes
 *   …  one msgpack map, its fields in record.c's tables
 *
 * Fields that a reader does not know are skipped, so that a field can be added
 * without a new format; what must be understood needs a new SPOOL_FORMAT.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "image.h"
#include "message.h"

/* Of the whole spool, store.h's meta table. */
#define SPOOL_FORMAT 1u

#define RECORD_FRONT_BYTES 8u
#define RECORD_MAX_BYTES (RECORD_FRONT_BYTES + LATENTD_MAX_HEADER_BYTES)

enum record_kind { RECORD_JOB = 1, RECORD_STATE = 2, RECORD_KNOWN = 3 };

/* Times are milliseconds since 1970, so that they outlive a boot. */

/* Who wants what; written once, when the job is accepted. */
struct record_job {
	uint64_t id;
	uint64_t uid; /* of the producer, as producer_identity has it */
	struct text producer;
	struct text secret;
	struct text key;
	/* As in SUBMIT. */
	enum latentd_task task;
	struct text model;
	enum latentd_space space;
	struct latentd_tensor tensor; /* ndim 0: an image file */
	uint64_t height_px;
	uint64_t width_px;
	enum latentd_output output;
	uint64_t metadata_bytes; /* tail of the body */
	enum latentd_priority priority;
	/* Of an image file, so that it need not be read again. */
	uint64_t image_kind; /* enum image_kind; 0: a tensor */
	uint64_t image_width_px;
	uint64_t image_height_px;
	uint64_t body_bytes; /* payload and metadata */
	uint64_t body_crc;
	uint64_t submitted_at_ms;
	uint64_t deadline_at_ms; /* 0: none */
	uint64_t deadline_ms; /* as it was given */
};

/* How far it is; rewritten whenever that changes in a way that must last. */
struct record_state {
	enum job_state state; /* QUEUED, or how it ended; never ACTIVE */
	uint64_t attempts;
	uint64_t failures; /* of these: that count against it, in a row */
	uint64_t kicks;
	bool no_deadline; /* it was kicked after its deadline */
	bool body_gone; /* the latent is not kept any more */
	uint64_t queued_at_ms; /* when it was kicked; 0: never */
	/* Of a job that has ended. */
	uint64_t ended_at_ms;
	uint64_t kept_at_ms; /* since when it waits to be collected */
	uint64_t buried_at_ms; /* 0: it is not buried */
	enum latentd_err code;
	struct text message;
	struct text endpoint;
	uint64_t queued_ms; /* as in RESULT */
	uint64_t decode_ms;
	uint64_t finish_ms;
	/* What it brought; result_bytes 0: nothing. */
	struct latentd_tensor tensor; /* ndim 0: files */
	const uint64_t *part_bytes;
	size_t part_bytes_n;
	uint64_t result_bytes;
	uint64_t result_crc;
};

/* A key whose result was acknowledged: it must not become a second job. */
struct record_known {
	uint64_t id;
	uint64_t uid;
	struct text producer;
	struct text secret;
	struct text key;
	uint64_t acked_at_ms;
};

union record_any {
	struct record_job job;
	struct record_state state;
	struct record_known known;
};

/*
 * record_encode(kind, in, buf): write a record of ${kind} into ${buf}; its
 * length.  0: it does not fit, which only part_bytes can cause.
 */
size_t record_encode(
    enum record_kind kind, const void *in, uint8_t buf[RECORD_MAX_BYTES]);

/*
 * record_decode(kind, data, bytes, scratch, out, why):
 * Check length, magic, version, kind and CRC and read the fields into the
 * member of ${out} that ${kind} names.  Texts point into ${data}, arrays into
 * ${scratch}.  IO with a sentence that says what is damaged; VERSION for a
 * record of a newer version.  ${out} is undefined then.
 */
enum latentd_err record_decode(enum record_kind kind, const void *data,
    size_t bytes, struct message_scratch *scratch, union record_any *out,
    struct reason *why);

/* crc32c(crc, data, bytes): go on from ${crc}, which begins as 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
