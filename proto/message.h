/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between producers and the daemon: a 16-byte preamble, a small
 * msgpack header, the raw body.  protocol.md is normative; the tables in
 * message.c are its machine-readable half.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

#define MESSAGE_PREAMBLE_BYTES 16u
/* Room that a sender leaves before a body for preamble and header. */
#define MESSAGE_FRONT_BYTES (MESSAGE_PREAMBLE_BYTES + LATENTD_MAX_HEADER_BYTES)

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_SUBMIT = 2,
	MESSAGE_COLLECT = 3,
	MESSAGE_CANCEL = 4,
	MESSAGE_STATUS = 5,
	MESSAGE_LIST = 6,
	MESSAGE_WHY = 7,
	MESSAGE_ADMIN = 8,
	MESSAGE_WELCOME = 129,
	MESSAGE_ACCEPTED = 130,
	MESSAGE_BUSY = 131,
	MESSAGE_REJECTED = 132,
	MESSAGE_RESULT = 133,
	MESSAGE_EMPTY = 134,
	MESSAGE_CANCELLED = 135,
	MESSAGE_REPORT = 136,
	MESSAGE_DONE = 137,
	MESSAGE_CHALLENGE = 138,
	MESSAGE_EVENT = 192,
};

/* A string or byte string inside somebody else's buffer; not NUL-ended. */
struct text {
	const char *at;
	size_t bytes;
};

/* States of a job as they travel; docs/architecture.md §2. */
enum job_state {
	JOB_NEW = 0, /* being read; no message carries it */
	JOB_QUEUED,
	JOB_ACTIVE,
	JOB_DONE,
	JOB_FAILED,
	JOB_CANCELLED,
	JOB_EXPIRED,
	JOB_STATE_COUNT
};

/*
 * What each message holds.  Decoded text points into the decoded header;
 * arrays point into the caller's scratch (struct message_scratch).  0, NULL
 * and empty mean "absent" for optional fields.
 */
struct message_hello {
	struct text producer;
	struct text secret;
	struct text software; /* optional: name and version, for the log */
	/* All or none of these; protocol.md §12. */
	struct text nonce; /* of the CHALLENGE that this answers */
	struct text salt; /* the producer's own nonce */
	struct text proof;
};

struct message_welcome {
	struct text version;
	uint64_t instance; /* differs after every start of the daemon */
	uint64_t max_body_bytes;
	uint64_t max_wait_ms;
	const struct text *services; /* "decode/sdxl", ... */
	size_t services_n;
	struct text proof; /* the daemon's, where the HELLO had one */
};

/* Nothing was done: the producer has to prove who it is, and ask again. */
struct message_challenge {
	uint64_t instance;
	struct text nonce; /* of this connection, for one proof */
};

struct message_submit {
	struct text producer;
	struct text secret;
	struct text key;
	enum latentd_task task;
	struct text model;
	enum latentd_space space;
	struct latentd_tensor tensor; /* ndim 0: the body is an image file */
	uint64_t height_px;
	uint64_t width_px;
	enum latentd_output output;
	uint64_t metadata_bytes; /* tail of the body; protocol.md §6 */
	enum latentd_priority priority;
	uint64_t deadline_ms; /* from now; 0: none */
	bool refuse_late; /* BUSY when the estimate passes the deadline */
	bool cancel_on_disconnect;
};

struct message_accepted {
	uint64_t instance;
	uint64_t id;
	enum job_state state;
	uint64_t position; /* about how many jobs go before it */
	uint64_t estimated_wait_ms; /* until its result; 0: not known */
	enum latentd_durability durability;
};

struct message_busy {
	uint64_t instance;
	struct text reason; /* protocol.md §5 */
	uint64_t retry_after_ms;
	uint64_t estimated_wait_ms; /* as in ACCEPTED, were there room */
};

struct message_rejected {
	enum latentd_err code;
	struct text message;
};

struct message_collect {
	struct text producer;
	struct text secret;
	const uint64_t *acks;
	size_t acks_n;
	uint64_t wait_ms;
};

struct message_result {
	uint64_t instance;
	uint64_t tag; /* acknowledge with this */
	uint64_t id;
	struct text key;
	enum job_state state; /* DONE, FAILED, CANCELLED, EXPIRED */
	enum latentd_err code; /* OK when DONE */
	struct text message; /* why not, else empty */
	enum latentd_output output;
	struct latentd_tensor tensor; /* ndim 0: files */
	const uint64_t *part_bytes; /* sizes of the parts in the body */
	size_t part_bytes_n;
	uint64_t width_px;
	uint64_t height_px;
	uint64_t frames;
	struct text endpoint;
	uint64_t attempts;
	uint64_t kicks; /* how often the job was kicked before this result */
	uint64_t queued_ms;
	uint64_t decode_ms;
	uint64_t finish_ms;
	uint64_t unknown_acks; /* how many tags of the COLLECT hit nothing */
};

struct message_empty {
	uint64_t instance;
	uint64_t pending; /* this producer's jobs that are not done */
	uint64_t unknown_acks;
};

struct message_cancel {
	struct text producer;
	struct text secret;
	struct text key; /* key or id */
	uint64_t id;
};

struct message_cancelled {
	uint64_t id;
	enum job_state state; /* what the job was before */
};

struct message_status {
	bool unused; /* STATUS has no fields */
};

struct message_report {
	uint64_t instance; /* the body is a JSON document */
};

struct message_list {
	struct text producer;
	struct text secret;
	enum job_state state; /* NEW: any */
	struct text of; /* producers of this name only; empty: all */
	uint64_t after; /* jobs with a higher id */
	uint64_t limit; /* jobs looked at; 0: LATENTD_MAX_LIST */
};

struct message_why {
	struct text producer;
	struct text secret;
	struct text key; /* key or id */
	uint64_t id;
};

/* What an ADMIN request wants. */
enum admin_op {
	ADMIN_NONE = 0,
	ADMIN_PAUSE,
	ADMIN_RESUME,
	ADMIN_DRAIN,
	ADMIN_KICK,
	ADMIN_PURGE,
	ADMIN_RELOAD,
};

/* Which side of the daemon is paused. */
enum admin_side { ADMIN_BOTH = 0, ADMIN_IN, ADMIN_OUT };

struct message_admin {
	struct text producer;
	struct text secret;
	enum admin_op op;
	enum admin_side side; /* of PAUSE and RESUME */
	uint64_t id; /* KICK, PURGE: this job, or */
	uint64_t all; /* 1: all that failed */
	struct text of; /* of these: of producers of this name only */
	uint64_t after; /* of these: with a higher id */
};

struct message_done {
	uint64_t instance;
	uint64_t jobs; /* how many were changed */
	uint64_t next; /* go on with this as "after"; 0: that was all */
};

struct message_event {
	uint64_t id;
	struct text producer;
	struct text model;
	enum latentd_task task;
	enum job_state state;
	enum latentd_output output; /* of the body, if there is one */
	uint64_t part_bytes; /* the body: the first part */
};

union message_any {
	struct message_hello hello;
	struct message_welcome welcome;
	struct message_submit submit;
	struct message_accepted accepted;
	struct message_busy busy;
	struct message_rejected rejected;
	struct message_collect collect;
	struct message_result result;
	struct message_empty empty;
	struct message_cancel cancel;
	struct message_cancelled cancelled;
	struct message_status status;
	struct message_report report;
	struct message_list list;
	struct message_why why;
	struct message_admin admin;
	struct message_done done;
	struct message_challenge challenge;
	struct message_event event;
};

/* Where decoding puts arrays; reuse it for the next message when done. */
struct message_scratch {
	uint64_t numbers[LATENTD_MAX_PARTS];
	struct text texts[64];
};

/* A message taken apart, nothing copied. */
struct message_frame {
	enum message_type type;
	const uint8_t *header;
	size_t header_bytes;
	const uint8_t *body;
	size_t body_bytes;
};

/*
 * message_type_name(type): "SUBMIT"; "unknown" for what is not in the table.
 * job_state_name(state): "queued"; job_state_find(name): NEW if there is none.
 */
const char *message_type_name(enum message_type type);
const char *job_state_name(enum job_state state);
enum job_state job_state_find(const char *name);

/* message_is_name(at, bytes): whether that is a name as protocol.md §3 has it: 1 to
 * LATENTD_MAX_NAME_BYTES of A-Z a-z 0-9 . _ -. */
bool message_is_name(const char *at, size_t bytes);

/* Names on the wire of the public enums ("decode", "pixels", "high"), and back:
 * false if there is no such priority. */
const char *task_name(enum latentd_task task);
const char *output_name(enum latentd_output output);
const char *priority_name(enum latentd_priority priority);
bool priority_find(const char *name, enum latentd_priority *priority);

/*
 * message_frame(data, bytes, frame, why):
 * Check the preamble of the message ${data}, whose length ${bytes} the
 * transport knows, and point ${frame} into it.  Fails with PROTOCOL (magic,
 * lengths that do not add up to ${bytes}, unknown type), VERSION, or TOO_LARGE
 * (header above LATENTD_MAX_HEADER_BYTES); ${frame} unchanged.
 */
enum latentd_err message_frame(const void *data, size_t bytes,
    struct message_frame *frame, struct reason *why);

/*
 * message_decode(frame, scratch, out, why):
 * Read ${frame}'s header into the member of ${out} that its type names,
 * without allocating.  Every count and length is bounded before it is used;
 * duplicate keys, wrong types, values out of range, missing fields and bytes
 * behind the map are refused with INVALID (PROTOCOL where it is not msgpack)
 * and a sentence naming the field.  Unknown fields are refused in requests
 * (a misspelt option must not be ignored) and skipped in replies (a newer
 * daemon may say more).  ${out} is undefined on failure.
 */
enum latentd_err message_decode(const struct message_frame *frame,
    struct message_scratch *scratch, union message_any *out,
    struct reason *why);

/*
 * message_encode(type, in, body_bytes, buf, buf_bytes):
 * Write preamble and header for a body of ${body_bytes} bytes into ${buf}.
 * Return how many bytes that are, or 0 when they do not fit ${buf_bytes} or the
 * header would pass its limit.  Absent optional fields are not written.
 */
size_t message_encode(enum message_type type, const void *in,
    uint64_t body_bytes, void *buf, size_t buf_bytes);

/*
 * metadata_next(at, end, key, value, why):
 * Walk the metadata at the tail of a SUBMIT body: per entry u8 key length,
 * key, u32 LE value length, value (protocol.md §6).  Advances ${*at}; returns
 * OK with ${key} set, OK with key->at NULL at the end, INVALID otherwise.
 */
enum latentd_err metadata_next(const uint8_t **at, const uint8_t *end,
    struct text *key, struct text *value, struct reason *why);

/* metadata_put(buf, key, value): append one entry at ${buf}, which has room
 * for metadata_put_bytes(); return the bytes written. */
size_t metadata_put_bytes(struct text key, struct text value);
size_t metadata_put(uint8_t *buf, struct text key, struct text value);

#endif
