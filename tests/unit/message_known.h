/* SPDX-License-Identifier: Apache-2.0 */
/* Every field of every message, from protocol.md and not from message.c. */
#ifndef UNIT_MESSAGE_KNOWN_H
#define UNIT_MESSAGE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

enum kind { NAME, TEXT, BYTES, NUMBER, FLAG, ONE, SHAPE, NUMBERS, TEXTS };

struct known {
	enum message_type type;
	const char *name;
	enum kind kind;
	size_t at, count_at;
	uint64_t most; /* value, length or count */
	const char *const *names; /* of ONE, NULL-ended; "" is no name */
	bool optional;
};

static const char *const tasks[] = {"decode", "encode", NULL};
static const char *const spaces[] = {"model", "vae", NULL};
static const char *const dtypes[] = {
    "", "float16", "bfloat16", "float32", "uint8", NULL};
static const char *const outputs[] = {
    "", "jpg", "png", "mp4", "pixels", "float", "latent", NULL};
static const char *const states[] = {
    "", "queued", "active", "done", "failed", "cancelled", "expired", NULL};
static const char *const priorities[] = {
    "normal", "urgent", "high", "low", NULL};
static const char *const codes[] = {"ok", "invalid", "protocol", "version",
    "model", "shape", "image", "too_large", "busy", "denied", "not_found",
    "ended", "collected", "dropped", "cancelled", "expired", "endpoint",
    "refused", "unreachable", "timeout", "stopping", "unsupported", "io",
    "memory", "internal", NULL};

static const char *const ops[] = {
    "", "pause", "resume", "drain", "kick", "purge", "reload", NULL};
static const char *const sides[] = {"both", "in", "out", NULL};
static const char *const durabilities[] = {"none", "spooled", NULL};

/* clang-format off */
#define AT(s, f) offsetof(struct message_##s, f)
#define N_(T, s, f, o) {MESSAGE_##T, #f, NAME, AT(s, f), 0, 64, NULL, o}
#define T_(T, s, f, most, o) {MESSAGE_##T, #f, TEXT, AT(s, f), 0, most, NULL, o}
#define B_(T, s, f) {MESSAGE_##T, #f, BYTES, AT(s, f), 0, 64, NULL, true}
#define X_(T, s, f, o) {MESSAGE_##T, #f, BYTES, AT(s, f), 0, 32, NULL, o}
#define U_(T, s, f, most, o) \
	{MESSAGE_##T, #f, NUMBER, AT(s, f), 0, most, NULL, o}
#define F_(T, s, f) {MESSAGE_##T, #f, FLAG, AT(s, f), 0, 0, NULL, true}
#define E_(T, s, f, names, o) {MESSAGE_##T, #f, ONE, AT(s, f), 0, 0, names, o}
#define A_(T, s, f, kind, most, o) \
	{MESSAGE_##T, #f, kind, AT(s, f), AT(s, f##_n), most, NULL, o}
#define TENSOR_(T, s) \
	{MESSAGE_##T, "dtype", ONE, AT(s, tensor.dtype), 0, 0, dtypes, true}, \
	{MESSAGE_##T, "shape", SHAPE, AT(s, tensor), 0, 1048576, NULL, true}
#define TOP UINT64_MAX

static const struct known all[] = {
    N_(HELLO, hello, producer, false), B_(HELLO, hello, secret),
    T_(HELLO, hello, software, 64, true),
    X_(HELLO, hello, nonce, true), X_(HELLO, hello, salt, true),
    X_(HELLO, hello, proof, true),
    N_(SUBMIT, submit, producer, false), B_(SUBMIT, submit, secret),
    N_(SUBMIT, submit, key, false), E_(SUBMIT, submit, task, tasks, false),
    N_(SUBMIT, submit, model, false), E_(SUBMIT, submit, space, spaces, true),
    TENSOR_(SUBMIT, submit), U_(SUBMIT, submit, height_px, 16384, true),
    U_(SUBMIT, submit, width_px, 16384, true),
    E_(SUBMIT, submit, output, outputs, true),
    U_(SUBMIT, submit, metadata_bytes, 1048576, true),
    E_(SUBMIT, submit, priority, priorities, true),
    U_(SUBMIT, submit, deadline_ms, 604800000, true),
    F_(SUBMIT, submit, refuse_late), F_(SUBMIT, submit, cancel_on_disconnect),
    N_(COLLECT, collect, producer, false), B_(COLLECT, collect, secret),
    A_(COLLECT, collect, acks, NUMBERS, 256, true),
    U_(COLLECT, collect, wait_ms, 25000, true),
    N_(CANCEL, cancel, producer, false), B_(CANCEL, cancel, secret),
    N_(CANCEL, cancel, key, true), U_(CANCEL, cancel, id, TOP, true),
    N_(LIST, list, producer, false), B_(LIST, list, secret),
    E_(LIST, list, state, states, true), N_(LIST, list, of, true),
    U_(LIST, list, after, TOP, true), U_(LIST, list, limit, 1000, true),
    N_(WHY, why, producer, false), B_(WHY, why, secret),
    N_(WHY, why, key, true), U_(WHY, why, id, TOP, true),
    N_(ADMIN, admin, producer, false), B_(ADMIN, admin, secret),
    E_(ADMIN, admin, op, ops, false), E_(ADMIN, admin, side, sides, true),
    U_(ADMIN, admin, id, TOP, true), U_(ADMIN, admin, all, 1, true),
    N_(ADMIN, admin, of, true), U_(ADMIN, admin, after, TOP, true),
    T_(WELCOME, welcome, version, 64, false),
    U_(WELCOME, welcome, instance, TOP, false),
    U_(WELCOME, welcome, max_body_bytes, TOP, false),
    U_(WELCOME, welcome, max_wait_ms, TOP, false),
    A_(WELCOME, welcome, services, TEXTS, 64, false),
    X_(WELCOME, welcome, proof, true),
    U_(CHALLENGE, challenge, instance, TOP, false),
    X_(CHALLENGE, challenge, nonce, false),
    U_(ACCEPTED, accepted, instance, TOP, false),
    U_(ACCEPTED, accepted, id, TOP, false),
    E_(ACCEPTED, accepted, state, states, false),
    U_(ACCEPTED, accepted, position, TOP, false),
    U_(ACCEPTED, accepted, estimated_wait_ms, TOP, true),
    E_(ACCEPTED, accepted, durability, durabilities, false),
    U_(BUSY, busy, instance, TOP, false), T_(BUSY, busy, reason, 64, false),
    U_(BUSY, busy, retry_after_ms, 3600000, false),
    U_(BUSY, busy, estimated_wait_ms, TOP, true),
    E_(REJECTED, rejected, code, codes, false),
    T_(REJECTED, rejected, message, 512, false),
    U_(RESULT, result, instance, TOP, false),
    U_(RESULT, result, tag, TOP, false), U_(RESULT, result, id, TOP, false),
    N_(RESULT, result, key, false), E_(RESULT, result, state, states, false),
    E_(RESULT, result, code, codes, false),
    T_(RESULT, result, message, 512, true),
    E_(RESULT, result, output, outputs, true), TENSOR_(RESULT, result),
    A_(RESULT, result, part_bytes, NUMBERS, 2048, true),
    U_(RESULT, result, width_px, 16384, true),
    U_(RESULT, result, height_px, 16384, true),
    U_(RESULT, result, frames, 4096, true),
    T_(RESULT, result, endpoint, 64, true),
    U_(RESULT, result, attempts, UINT32_MAX, true),
    U_(RESULT, result, kicks, UINT32_MAX, true),
    U_(RESULT, result, queued_ms, TOP, true),
    U_(RESULT, result, decode_ms, TOP, true),
    U_(RESULT, result, finish_ms, TOP, true),
    U_(RESULT, result, unknown_acks, 256, true),
    U_(EMPTY, empty, instance, TOP, false),
    U_(EMPTY, empty, pending, TOP, false),
    U_(EMPTY, empty, unknown_acks, 256, true),
    U_(CANCELLED, cancelled, id, TOP, false),
    E_(CANCELLED, cancelled, state, states, false),
    U_(REPORT, report, instance, TOP, false),
    U_(DONE, done, instance, TOP, false), U_(DONE, done, jobs, TOP, false),
    U_(DONE, done, next, TOP, true),
    U_(EVENT, event, id, TOP, false), N_(EVENT, event, producer, false),
    N_(EVENT, event, model, false), E_(EVENT, event, task, tasks, false),
    E_(EVENT, event, state, states, false),
    E_(EVENT, event, output, outputs, true),
    U_(EVENT, event, part_bytes, TOP, true),
};
/* clang-format on */

#endif
