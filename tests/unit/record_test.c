/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "record.h"

static struct text
text_of(const char *s)
{
	return (struct text){s, strlen(s)};
}

static struct record_job
sample_job(void)
{
	return (struct record_job){.id = 7,
	    .uid = 1000,
	    .producer = text_of("comfy"),
	    .secret = text_of("s3cret"),
	    .key = text_of("image-0001"),
	    .task = LATENTD_DECODE,
	    .model = text_of("sdxl"),
	    .space = LATENTD_SPACE_VAE,
	    .tensor = {LATENTD_F16, 4, {1, 4, 128, 128}},
	    .output = LATENTD_OUT_PNG,
	    .metadata_bytes = 30,
	    .priority = LATENTD_HIGH,
	    .body_bytes = 131102,
	    .body_crc = 0xe3069283,
	    .submitted_at_ms = 1700000000000,
	    .deadline_at_ms = 1700000060000,
	    .deadline_ms = 60000};
}

static const uint64_t sizes[] = {1500000, 1, 1400000};

static struct record_state
sample_state(void)
{
	return (struct record_state){.state = JOB_DONE,
	    .attempts = 3,
	    .failures = 1,
	    .kicks = 2,
	    .no_deadline = true,
	    .body_gone = true,
	    .queued_at_ms = 1700000000001,
	    .ended_at_ms = 1700000000009,
	    .kept_at_ms = 1700000000010,
	    .code = LATENTD_ERR_DROPPED,
	    .message = text_of("nobody wanted it"),
	    .endpoint = text_of("gpu1"),
	    .queued_ms = 5,
	    .decode_ms = 6,
	    .finish_ms = 7,
	    .part_bytes = sizes,
	    .part_bytes_n = 3,
	    .result_bytes = 2900001,
	    .result_crc = 12};
}

static bool
same(struct text a, struct text b)
{
	return a.bytes == b.bytes &&
	    (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

Test(record, crc32c_is_castagnoli_s)
{
	/* RFC 3720, B.4, and the usual check value. */
	static const uint8_t zeroes[32];

	cr_assert_eq(crc32c(0, "123456789", 9), 0xe3069283);
	cr_assert_eq(crc32c(0, zeroes, 32), 0x8a9136aa);
	cr_assert_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
	cr_assert_eq(crc32c(5, NULL, 0), 5);
}

Test(record, a_job_comes_back_as_it_was)
{
	struct record_job in = sample_job();
	uint8_t buf[RECORD_MAX_BYTES];
	size_t bytes = record_encode(RECORD_JOB, &in, buf);
	struct message_scratch scratch;
	union record_any out;
	struct reason why;

	cr_assert_eq(
	    record_decode(RECORD_JOB, buf, bytes, &scratch, &out, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert(same(out.job.producer, in.producer) &&
	    same(out.job.secret, in.secret) && same(out.job.key, in.key) &&
	    same(out.job.model, in.model));
	in.producer = out.job.producer;
	in.secret = out.job.secret;
	in.key = out.job.key;
	in.model = out.job.model;
	cr_assert_eq(out.job.id, in.id);
	cr_assert_eq(out.job.uid, in.uid);
	cr_assert_eq(out.job.task, in.task);
	cr_assert_eq(out.job.space, in.space);
	cr_assert_eq(memcmp(&out.job.tensor, &in.tensor, sizeof(in.tensor)), 0);
	cr_assert_eq(out.job.output, in.output);
	cr_assert_eq(out.job.metadata_bytes, in.metadata_bytes);
	cr_assert_eq(out.job.priority, in.priority);
	cr_assert_eq(out.job.body_bytes, in.body_bytes);
	cr_assert_eq(out.job.body_crc, in.body_crc);
	cr_assert_eq(out.job.submitted_at_ms, in.submitted_at_ms);
	cr_assert_eq(out.job.deadline_at_ms, in.deadline_at_ms);
	cr_assert_eq(out.job.deadline_ms, in.deadline_ms);
}

Test(record, a_state_comes_back_as_it_was)
{
	struct record_state in = sample_state();
	uint8_t buf[RECORD_MAX_BYTES];
	size_t bytes = record_encode(RECORD_STATE, &in, buf);
	struct message_scratch scratch;
	union record_any out;
	struct reason why;

	cr_assert_eq(
	    record_decode(RECORD_STATE, buf, bytes, &scratch, &out, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(out.state.state, JOB_DONE);
	cr_assert_eq(out.state.attempts, 3);
	cr_assert_eq(out.state.failures, 1);
	cr_assert_eq(out.state.kicks, 2);
	cr_assert(out.state.no_deadline && out.state.body_gone);
	cr_assert_eq(out.state.queued_at_ms, in.queued_at_ms);
	cr_assert_eq(out.state.ended_at_ms, in.ended_at_ms);
	cr_assert_eq(out.state.kept_at_ms, in.kept_at_ms);
	cr_assert_eq(out.state.buried_at_ms, 0);
	cr_assert_eq(out.state.code, LATENTD_ERR_DROPPED);
	cr_assert(same(out.state.message, in.message) &&
	    same(out.state.endpoint, in.endpoint));
	cr_assert_eq(out.state.part_bytes_n, 3);
	cr_assert_eq(memcmp(out.state.part_bytes, sizes, sizeof(sizes)), 0);
	cr_assert_eq(out.state.result_bytes, 2900001);
	cr_assert_eq(out.state.result_crc, 12);
}

Test(record, the_largest_state_fits)
{
	static uint64_t most[LATENTD_MAX_PARTS];
	static char text[LATENTD_MAX_TEXT_BYTES];
	struct record_state in = sample_state();
	uint8_t buf[RECORD_MAX_BYTES];

	for (size_t i = 0; i < LATENTD_MAX_PARTS; i++)
		most[i] = UINT32_MAX;
	memset(text, 'x', sizeof(text));
	in.part_bytes = most;
	in.part_bytes_n = LATENTD_MAX_PARTS;
	in.message = (struct text){text, sizeof(text)};
	cr_assert_gt(record_encode(RECORD_STATE, &in, buf), 0);
	for (size_t i = 0; i < LATENTD_MAX_PARTS; i++)
		most[i] = UINT64_MAX;
	cr_assert_eq(record_encode(RECORD_STATE, &in, buf), 0);
}

Test(record, what_is_cut_off_is_damaged)
{
	struct record_job in = sample_job();
	uint8_t buf[RECORD_MAX_BYTES];
	size_t bytes = record_encode(RECORD_JOB, &in, buf);
	struct message_scratch scratch;
	union record_any out;
	struct reason why;

	for (size_t n = 0; n < bytes; n++) {
		/* A copy of that size, so that reading behind it is seen. */
		uint8_t *copy = malloc(n > 0 ? n : 1);

		memcpy(copy, buf, n);
		cr_assert_eq(
		    record_decode(RECORD_JOB, copy, n, &scratch, &out, &why),
		    LATENTD_ERR_IO, "%zu bytes", n);
		free(copy);
	}
}

Test(record, every_flipped_bit_is_seen)
{
	struct record_state in = sample_state();
	uint8_t buf[RECORD_MAX_BYTES];
	size_t bytes = record_encode(RECORD_STATE, &in, buf);
	struct message_scratch scratch;
	union record_any out;
	struct reason why;

	for (size_t i = 0; i < 8 * bytes; i++) {
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		cr_assert_eq(record_decode(RECORD_STATE, buf, bytes, &scratch,
				 &out, &why),
		    LATENTD_ERR_IO, "bit %zu", i);
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

/* Give ${buf} the CRC that it should have. */
static void
seal(uint8_t *buf, size_t bytes)
{
	uint32_t crc = crc32c(0, buf, 4);

	crc = crc32c(crc, buf + RECORD_FRONT_BYTES, bytes - RECORD_FRONT_BYTES);
	for (size_t i = 0; i < 4; i++)
		buf[4 + i] = (uint8_t)(crc >> (8 * i));
}

Test(record, bytes_with_a_right_crc_are_read_with_care)
{
	struct record_state in = sample_state();
	struct message_scratch scratch;
	union record_any out;
	struct reason why;
	unsigned seed = 9;

	for (int round = 0; round < 20000; round++) {
		uint8_t buf[RECORD_MAX_BYTES];
		size_t bytes = record_encode(RECORD_STATE, &in, buf);

		for (int k = 0; k < 3; k++)
			buf[RECORD_FRONT_BYTES +
			    (size_t)rand_r(&seed) %
				(bytes - RECORD_FRONT_BYTES)] =
			    (uint8_t)rand_r(&seed);
		seal(buf, bytes);
		if (record_decode(RECORD_STATE, buf, bytes, &scratch, &out,
			&why) == LATENTD_OK)
			cr_assert(out.state.state < JOB_STATE_COUNT &&
			    out.state.part_bytes_n <= LATENTD_MAX_PARTS &&
			    out.state.message.bytes <= LATENTD_MAX_TEXT_BYTES);
	}
}

Test(record, another_kind_and_a_newer_version_are_told_apart)
{
	struct record_job in = sample_job();
	uint8_t buf[RECORD_MAX_BYTES];
	size_t bytes = record_encode(RECORD_JOB, &in, buf);
	struct message_scratch scratch;
	union record_any out;
	struct reason why;

	cr_assert_eq(
	    record_decode(RECORD_STATE, buf, bytes, &scratch, &out, &why),
	    LATENTD_ERR_IO);
	cr_assert(strstr(why.text, "kind 1") != NULL, "%s", why.text);
	buf[2] = 2;
	seal(buf, bytes);
	cr_assert_eq(
	    record_decode(RECORD_JOB, buf, bytes, &scratch, &out, &why),
	    LATENTD_ERR_VERSION);
}
