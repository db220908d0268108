/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables are walked by proto's codec, so that a record has the same bounds
 * as a message and the same checks.  The CRC is ISA-L's, which uses what the
 * processor has for it.
 */
#include "record.h"

#include <string.h>

#include <isa-l/crc.h>

#include "message_table.h"

#define RECORD_VERSION 1u
/* crc32_iscsi() counts in ints. */
#define CRC_STEP_BYTES (1u << 30)

static const struct field job_fields[] = {
    U64(record_job, id, true, ANY),
    U64(record_job, uid, true, ANY),
    NAME(record_job, producer, true),
    SECRET(record_job),
    NAME(record_job, key, true),
    ENUM(record_job, task, true, message_task_names),
    NAME(record_job, model, true),
    ENUM(record_job, space, false, message_space_names),
    TENSOR(record_job),
    U64(record_job, height_px, false, LATENTD_MAX_SIDE_PX),
    U64(record_job, width_px, false, LATENTD_MAX_SIDE_PX),
    ENUM(record_job, output, false, message_output_names),
    U64(record_job, metadata_bytes, false, LATENTD_MAX_METADATA_BYTES),
    ENUM(record_job, priority, false, message_priority_names),
    U64(record_job, image_kind, false, IMAGE_MP4),
    U64(record_job, image_width_px, false, UINT32_MAX),
    U64(record_job, image_height_px, false, UINT32_MAX),
    U64(record_job, body_bytes, true, LATENTD_MAX_BODY_BYTES),
    U64(record_job, body_crc, true, UINT32_MAX),
    U64(record_job, submitted_at_ms, true, ANY),
    U64(record_job, deadline_at_ms, false, ANY),
    U64(record_job, deadline_ms, false, LATENTD_MAX_DEADLINE_MS),
};

static const struct field state_fields[] = {
    ENUM(record_state, state, true, message_state_names),
    U64(record_state, attempts, false, UINT32_MAX),
    U64(record_state, failures, false, UINT32_MAX),
    U64(record_state, kicks, false, UINT32_MAX),
    BOOL(record_state, no_deadline),
    BOOL(record_state, body_gone),
    U64(record_state, queued_at_ms, false, ANY),
    U64(record_state, ended_at_ms, false, ANY),
    U64(record_state, kept_at_ms, false, ANY),
    U64(record_state, buried_at_ms, false, ANY),
    ENUM(record_state, code, true, message_err_names),
    TEXT(record_state, message, false, LATENTD_MAX_TEXT_BYTES),
    TEXT(record_state, endpoint, false, LATENTD_MAX_NAME_BYTES),
    U64(record_state, queued_ms, false, ANY),
    U64(record_state, decode_ms, false, ANY),
    U64(record_state, finish_ms, false, ANY),
    TENSOR(record_state),
    {"part_bytes", FIELD_U64S, false, offsetof(struct record_state, part_bytes),
	offsetof(struct record_state, part_bytes_n), LATENTD_MAX_PARTS, NULL,
	0},
    U64(record_state, result_bytes, false, ANY),
    U64(record_state, result_crc, false, UINT32_MAX),
};

static const struct field known_fields[] = {
    U64(record_known, id, true, ANY),
    U64(record_known, uid, true, ANY),
    NAME(record_known, producer, true),
    SECRET(record_known),
    NAME(record_known, key, true),
    U64(record_known, acked_at_ms, true, ANY),
};

#define TABLE(title, f)                                           \
	{                                                         \
		.name = (title), .request = false, .fields = (f), \
		.fields_n = sizeof(f) / sizeof((f)[0])            \
	}

static const struct message_shape tables[] = {
    [RECORD_JOB] = TABLE("job record", job_fields),
    [RECORD_STATE] = TABLE("state record", state_fields),
    [RECORD_KNOWN] = TABLE("record of a key", known_fields),
};

uint32_t
crc32c(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	crc = ~crc;
	while (bytes > 0) {
		size_t n = bytes < CRC_STEP_BYTES ? bytes : CRC_STEP_BYTES;

		/* It takes a pointer to non-const and only reads. */
		crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)n, crc);
		at += n;
		bytes -= n;
	}
	return ~crc;
}

static uint32_t
record_crc(const uint8_t *record, size_t bytes)
{
	uint32_t crc = crc32c(0, record, 4);

	return crc32c(
	    crc, record + RECORD_FRONT_BYTES, bytes - RECORD_FRONT_BYTES);
}

size_t
record_encode(
    enum record_kind kind, const void *in, uint8_t buf[RECORD_MAX_BYTES])
{
	size_t bytes = message_encode_fields(&tables[kind], in,
	    buf + RECORD_FRONT_BYTES, RECORD_MAX_BYTES - RECORD_FRONT_BYTES);
	uint32_t crc;

	if (bytes == 0)
		return 0;
	bytes += RECORD_FRONT_BYTES;
	buf[0] = 'L';
	buf[1] = 'S';
	buf[2] = RECORD_VERSION;
	buf[3] = (uint8_t)kind;
	crc = record_crc(buf, bytes);
	for (size_t i = 0; i < 4; i++, crc >>= 8)
		buf[4 + i] = (uint8_t)(crc & 0xff);
	return bytes;
}

enum latentd_err
record_decode(enum record_kind kind, const void *data, size_t bytes,
    struct message_scratch *scratch, union record_any *out, struct reason *why)
{
	const char *name = tables[kind].name;
	const uint8_t *at = data;
	struct reason inner;
	uint32_t crc;

	if (bytes < RECORD_FRONT_BYTES || bytes > RECORD_MAX_BYTES)
		return reason_set(why, LATENTD_ERR_IO,
		    "a %s of %zu bytes; it must have %u to %u", name, bytes,
		    RECORD_FRONT_BYTES, RECORD_MAX_BYTES);
	crc = (uint32_t)at[4] | (uint32_t)at[5] << 8 | (uint32_t)at[6] << 16 |
	    (uint32_t)at[7] << 24;
	if (at[0] != 'L' || at[1] != 'S' || crc != record_crc(at, bytes))
		return reason_set(why, LATENTD_ERR_IO,
		    "a %s of %zu bytes is damaged: its CRC32C is %08x and not "
		    "%08x",
		    name, bytes, record_crc(at, bytes), crc);
	if (at[2] > RECORD_VERSION)
		return reason_set(why, LATENTD_ERR_VERSION,
		    "a %s has version %u; this program knows up to %u", name,
		    at[2], RECORD_VERSION);
	if (at[3] != (uint8_t)kind)
		return reason_set(why, LATENTD_ERR_IO,
		    "a record of kind %u stands where a %s should", at[3],
		    name);
	if (message_decode_fields(&tables[kind], at + RECORD_FRONT_BYTES,
		bytes - RECORD_FRONT_BYTES, scratch, out, sizeof(*out),
		&inner) != LATENTD_OK)
		return reason_set(why, LATENTD_ERR_IO, "%s", inner.text);
	return LATENTD_OK;
}
