/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each message type is a table of fields; one encoder and one decoder walk
 * the tables, so that the bounds of protocol.md §5 stand in exactly one
 * place: here.
 */
#include "message.h"

#include <assert.h>
#include <string.h>

#include "latentd/version.h"
#include "message_table.h"
#include "proof.h"

const char *const message_task_names[2] = {"decode", "encode"};
const char *const message_space_names[2] = {"model", "vae"};
const char *const message_dtype_names[5] = {
    NULL, "float16", "bfloat16", "float32", "uint8"};
const char *const message_output_names[7] = {
    NULL, "jpg", "png", "mp4", "pixels", "float", "latent"};
const char *const message_state_names[JOB_STATE_COUNT] = {
    NULL, "queued", "active", "done", "failed", "cancelled", "expired"};
const char *const message_priority_names[4] = {
    "normal", "urgent", "high", "low"};
static const char *const durability_names[] = {"none", "spooled"};
static const char *const op_names[] = {
    NULL, "pause", "resume", "drain", "kick", "purge", "reload"};
static const char *const side_names[] = {"both", "in", "out"};
const char *const message_err_names[LATENTD_ERR_COUNT] = {
#define ERR_NAME(e, name, text) name,
    LATENTD_ERROR_TABLE(ERR_NAME)
#undef ERR_NAME
};

static_assert(sizeof(enum latentd_task) == sizeof(int), "enums are ints");
static_assert(sizeof(message_state_names) / sizeof(message_state_names[0]) ==
	JOB_STATE_COUNT,
    "every state has a name");

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const struct field hello_fields[] = {
    NAME(message_hello, producer, true),
    SECRET(message_hello),
    TEXT(message_hello, software, false, LATENTD_MAX_NAME_BYTES),
    BIN(message_hello, nonce, false, PROOF_NONCE_BYTES),
    BIN(message_hello, salt, false, PROOF_NONCE_BYTES),
    BIN(message_hello, proof, false, PROOF_BYTES),
};
static const struct field welcome_fields[] = {
    TEXT(message_welcome, version, true, LATENTD_MAX_NAME_BYTES),
    U64(message_welcome, instance, true, ANY),
    U64(message_welcome, max_body_bytes, true, ANY),
    U64(message_welcome, max_wait_ms, true, ANY),
    {"services", FIELD_TEXTS, true, offsetof(struct message_welcome, services),
	offsetof(struct message_welcome, services_n), 64, NULL, 0},
    BIN(message_welcome, proof, false, PROOF_BYTES),
};
static const struct field challenge_fields[] = {
    U64(message_challenge, instance, true, ANY),
    BIN(message_challenge, nonce, true, PROOF_NONCE_BYTES),
};
static const struct field submit_fields[] = {
    NAME(message_submit, producer, true),
    SECRET(message_submit),
    NAME(message_submit, key, true),
    ENUM(message_submit, task, true, message_task_names),
    NAME(message_submit, model, true),
    ENUM(message_submit, space, false, message_space_names),
    TENSOR(message_submit),
    U64(message_submit, height_px, false, LATENTD_MAX_SIDE_PX),
    U64(message_submit, width_px, false, LATENTD_MAX_SIDE_PX),
    ENUM(message_submit, output, false, message_output_names),
    U64(message_submit, metadata_bytes, false, LATENTD_MAX_METADATA_BYTES),
    ENUM(message_submit, priority, false, message_priority_names),
    U64(message_submit, deadline_ms, false, LATENTD_MAX_DEADLINE_MS),
    BOOL(message_submit, refuse_late),
    BOOL(message_submit, cancel_on_disconnect),
};
static const struct field accepted_fields[] = {
    U64(message_accepted, instance, true, ANY),
    U64(message_accepted, id, true, ANY),
    ENUM(message_accepted, state, true, message_state_names),
    U64(message_accepted, position, true, ANY),
    U64(message_accepted, estimated_wait_ms, false, ANY),
    ENUM(message_accepted, durability, true, durability_names),
};
static const struct field busy_fields[] = {
    U64(message_busy, instance, true, ANY),
    TEXT(message_busy, reason, true, LATENTD_MAX_NAME_BYTES),
    U64(message_busy, retry_after_ms, true, 3600000),
    U64(message_busy, estimated_wait_ms, false, ANY),
};
static const struct field rejected_fields[] = {
    ENUM(message_rejected, code, true, message_err_names),
    TEXT(message_rejected, message, true, LATENTD_MAX_TEXT_BYTES),
};
static const struct field collect_fields[] = {
    NAME(message_collect, producer, true),
    SECRET(message_collect),
    {"acks", FIELD_U64S, false, offsetof(struct message_collect, acks),
	offsetof(struct message_collect, acks_n), LATENTD_MAX_ACKS, NULL, 0},
    U64(message_collect, wait_ms, false, LATENTD_MAX_WAIT_MS),
};
static const struct field result_fields[] = {
    U64(message_result, instance, true, ANY),
    U64(message_result, tag, true, ANY),
    U64(message_result, id, true, ANY),
    NAME(message_result, key, true),
    ENUM(message_result, state, true, message_state_names),
    ENUM(message_result, code, true, message_err_names),
    TEXT(message_result, message, false, LATENTD_MAX_TEXT_BYTES),
    ENUM(message_result, output, false, message_output_names),
    TENSOR(message_result),
    {"part_bytes", FIELD_U64S, false,
	offsetof(struct message_result, part_bytes),
	offsetof(struct message_result, part_bytes_n), LATENTD_MAX_PARTS, NULL,
	0},
    U64(message_result, width_px, false, LATENTD_MAX_SIDE_PX),
    U64(message_result, height_px, false, LATENTD_MAX_SIDE_PX),
    U64(message_result, frames, false, LATENTD_MAX_FRAMES),
    TEXT(message_result, endpoint, false, LATENTD_MAX_NAME_BYTES),
    U64(message_result, attempts, false, UINT32_MAX),
    U64(message_result, kicks, false, UINT32_MAX),
    U64(message_result, queued_ms, false, ANY),
    U64(message_result, decode_ms, false, ANY),
    U64(message_result, finish_ms, false, ANY),
    U64(message_result, unknown_acks, false, LATENTD_MAX_ACKS),
};
static const struct field empty_fields[] = {
    U64(message_empty, instance, true, ANY),
    U64(message_empty, pending, true, ANY),
    U64(message_empty, unknown_acks, false, LATENTD_MAX_ACKS),
};
static const struct field cancel_fields[] = {
    NAME(message_cancel, producer, true),
    SECRET(message_cancel),
    NAME(message_cancel, key, false),
    U64(message_cancel, id, false, ANY),
};
static const struct field cancelled_fields[] = {
    U64(message_cancelled, id, true, ANY),
    ENUM(message_cancelled, state, true, message_state_names),
};
static const struct field list_fields[] = {
    NAME(message_list, producer, true),
    SECRET(message_list),
    ENUM(message_list, state, false, message_state_names),
    NAME(message_list, of, false),
    U64(message_list, after, false, ANY),
    U64(message_list, limit, false, LATENTD_MAX_LIST),
};
static const struct field why_fields[] = {
    NAME(message_why, producer, true),
    SECRET(message_why),
    NAME(message_why, key, false),
    U64(message_why, id, false, ANY),
};
static const struct field admin_fields[] = {
    NAME(message_admin, producer, true),
    SECRET(message_admin),
    ENUM(message_admin, op, true, op_names),
    ENUM(message_admin, side, false, side_names),
    U64(message_admin, id, false, ANY),
    U64(message_admin, all, false, 1),
    NAME(message_admin, of, false),
    U64(message_admin, after, false, ANY),
};
static const struct field done_fields[] = {
    U64(message_done, instance, true, ANY),
    U64(message_done, jobs, true, ANY),
    U64(message_done, next, false, ANY),
};
static const struct field report_fields[] = {
    U64(message_report, instance, true, ANY),
};
static const struct field event_fields[] = {
    U64(message_event, id, true, ANY),
    NAME(message_event, producer, true),
    NAME(message_event, model, true),
    ENUM(message_event, task, true, message_task_names),
    ENUM(message_event, state, true, message_state_names),
    ENUM(message_event, output, false, message_output_names),
    U64(message_event, part_bytes, false, ANY),
};

#define SHAPE(T, f, request)                                            \
	{                                                               \
		MESSAGE_##T, #T, request, f, sizeof(f) / sizeof((f)[0]) \
	}

static const struct message_shape shapes[] = {
    SHAPE(HELLO, hello_fields, true),
    SHAPE(SUBMIT, submit_fields, true),
    SHAPE(COLLECT, collect_fields, true),
    SHAPE(CANCEL, cancel_fields, true),
    {MESSAGE_STATUS, "STATUS", true, NULL, 0},
    SHAPE(LIST, list_fields, true),
    SHAPE(WHY, why_fields, true),
    SHAPE(ADMIN, admin_fields, true),
    SHAPE(WELCOME, welcome_fields, false),
    SHAPE(ACCEPTED, accepted_fields, false),
    SHAPE(BUSY, busy_fields, false),
    SHAPE(REJECTED, rejected_fields, false),
    SHAPE(RESULT, result_fields, false),
    SHAPE(EMPTY, empty_fields, false),
    SHAPE(CANCELLED, cancelled_fields, false),
    SHAPE(REPORT, report_fields, false),
    SHAPE(DONE, done_fields, false),
    SHAPE(CHALLENGE, challenge_fields, false),
    SHAPE(EVENT, event_fields, false),
};

const struct message_shape *
message_shape(unsigned type)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if ((unsigned)shapes[i].type == type)
			return &shapes[i];
	}
	return NULL;
}

const char *
message_type_name(enum message_type type)
{
	const struct message_shape *shape = message_shape((unsigned)type);

	return shape != NULL ? shape->name : "unknown";
}

const char *
job_state_name(enum job_state state)
{
	return state == JOB_NEW ? "new" : message_state_names[state];
}

enum job_state
job_state_find(const char *name)
{
	for (int i = JOB_QUEUED; i < JOB_STATE_COUNT; i++) {
		if (strcmp(name, message_state_names[i]) == 0)
			return (enum job_state)i;
	}
	return JOB_NEW;
}

const char *
task_name(enum latentd_task task)
{
	return message_task_names[task];
}

const char *
output_name(enum latentd_output output)
{
	return output == LATENTD_OUT_NONE ? "none"
					  : message_output_names[output];
}

bool
message_is_name(const char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		char c = at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '.' || c == '_' ||
			c == '-'))
			return false;
	}
	return bytes > 0 && bytes <= LATENTD_MAX_NAME_BYTES;
}

const char *
priority_name(enum latentd_priority priority)
{
	return message_priority_names[priority];
}

bool
priority_find(const char *name, enum latentd_priority *priority)
{
	for (int i = 0; i < (int)N(message_priority_names); i++) {
		if (strcmp(name, message_priority_names[i]) != 0)
			continue;
		*priority = (enum latentd_priority)i;
		return true;
	}
	return false;
}

static uint64_t
little_endian(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | at[bytes];
	return v;
}

enum latentd_err
message_frame(const void *data, size_t bytes, struct message_frame *frame,
    struct reason *why)
{
	const uint8_t *at = data;
	uint64_t header_bytes, body_bytes;

	if (bytes < MESSAGE_PREAMBLE_BYTES || at[0] != 'L' || at[1] != 'D')
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "not a latentd message: %zu bytes that do not begin with "
		    "the 16-byte preamble \"LD\"",
		    bytes);
	if (at[2] != LATENTD_PROTOCOL_VERSION)
		return reason_set(why, LATENTD_ERR_VERSION,
		    "protocol version %u is not spoken here, only %d", at[2],
		    LATENTD_PROTOCOL_VERSION);
	if (message_shape(at[3]) == NULL)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "message type %u does not exist", at[3]);
	header_bytes = little_endian(at + 4, 4);
	body_bytes = little_endian(at + 8, 8);
	if (header_bytes > LATENTD_MAX_HEADER_BYTES)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "header of %llu bytes; at most %u are allowed",
		    (unsigned long long)header_bytes, LATENTD_MAX_HEADER_BYTES);
	if (header_bytes > bytes - MESSAGE_PREAMBLE_BYTES ||
	    body_bytes != bytes - MESSAGE_PREAMBLE_BYTES - header_bytes)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "preamble promises %llu bytes of header and %llu of body, "
		    "but %zu follow it",
		    (unsigned long long)header_bytes,
		    (unsigned long long)body_bytes,
		    bytes - MESSAGE_PREAMBLE_BYTES);
	frame->type = (enum message_type)at[3];
	frame->header = at + MESSAGE_PREAMBLE_BYTES;
	frame->header_bytes = (size_t)header_bytes;
	frame->body = frame->header + header_bytes;
	frame->body_bytes = (size_t)body_bytes;
	return LATENTD_OK;
}
