/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "message_fixture.h"

#define STRING(row, name) json_string_value(json_object_get(row, name))

static struct fixture_room room;
static struct message_scratch scratch;
static uint8_t buf[MESSAGE_FRONT_BYTES];

static uint64_t
body_bytes_of(const json_t *row)
{
	const json_t *v = json_object_get(row, "body_bytes");

	return json_is_string(v) ? strtoull(json_string_value(v), NULL, 10)
				 : (uint64_t)json_integer_value(v);
}

Test(message, golden_fields_are_encoded_to_the_golden_bytes)
{
	json_t *rows = fixture_messages("messages");
	const json_t *row;
	size_t i, want_n;

	json_array_foreach(rows, i, row)
	{
		enum message_type type = fixture_type(STRING(row, "type"));
		uint8_t *want = fixture_hex(row, &want_n);
		union message_any m;

		fixture_fill(type, json_object_get(row, "fields"), &room, &m);
		cr_assert_eq(message_encode(type, &m, body_bytes_of(row), buf,
				 sizeof(buf)),
		    want_n, "row %zu: %s", i, STRING(row, "description"));
		cr_assert_arr_eq(buf, want, want_n, "row %zu: %s", i,
		    STRING(row, "description"));
		free(want);
	}
	json_decref(rows);
}

/* Decode ${row}'s bytes without its body, which no decoder looks at. */
static void
check_decoded(const json_t *row, size_t i)
{
	enum message_type type = fixture_type(STRING(row, "type"));
	const char *what = STRING(row, "description"), *field;
	struct message_frame frame;
	union message_any want, got;
	struct reason why = {0};
	size_t bytes;
	uint8_t *data = fixture_hex(row, &bytes);

	/* The length of a gigabyte body is not worth a gigabyte here. */
	memset(data + 8, 0, 8);
	cr_assert_eq(message_frame(data, bytes, &frame, &why), LATENTD_OK,
	    "row %zu: %s: %s", i, what, why.text);
	cr_assert_eq(frame.type, type);
	cr_assert_eq(message_decode(&frame, &scratch, &got, &why), LATENTD_OK,
	    "row %zu: %s: %s", i, what, why.text);
	fixture_fill(type, json_object_get(row, "fields"), &room, &want);
	field = fixture_difference(type, &want, &got);
	cr_assert_null(field, "row %zu: %s: %s differs", i, what, field);
	free(data);
}

Test(message, golden_bytes_are_decoded_to_the_golden_fields)
{
	json_t *rows = fixture_messages("messages");
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		check_decoded(row, i);
	}
	json_decref(rows);
}

Test(message, replies_of_a_newer_daemon_are_understood)
{
	json_t *rows = fixture_messages("tolerated");
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		check_decoded(row, i);
	}
	json_decref(rows);
}

Test(message, golden_refusals_have_their_code_and_name_what_is_wrong)
{
	json_t *rows = fixture_messages("refused");
	const json_t *row;
	size_t i, bytes;

	json_array_foreach(rows, i, row)
	{
		uint8_t *data = fixture_hex(row, &bytes);
		const char *what = STRING(row, "description");
		struct message_frame frame;
		union message_any m;
		struct reason why = {0};
		enum latentd_err err = message_frame(data, bytes, &frame, &why);

		if (err == LATENTD_OK)
			err = message_decode(&frame, &scratch, &m, &why);
		cr_assert_eq(why.err, err, "row %zu: %s", i, what);
		cr_assert_str_eq(latentd_err_name(err), STRING(row, "code"),
		    "row %zu: %s: %s", i, what, why.text);
		cr_assert_not_null(strstr(why.text, STRING(row, "names")),
		    "row %zu: %s: %s", i, what, why.text);
		free(data);
	}
	json_decref(rows);
}

Test(message, every_type_has_a_golden_vector_and_a_name)
{
	json_t *rows = fixture_messages("messages");
	size_t types_n, i, k;
	const enum message_type *types = fixture_types(&types_n);
	const json_t *row;

	for (k = 0; k < types_n; k++) {
		bool found = false;

		json_array_foreach(rows, i, row)
		{
			found |= strcmp(STRING(row, "type"),
				     message_type_name(types[k])) == 0;
		}
		cr_assert(found, "%s", message_type_name(types[k]));
	}
	cr_assert_str_eq(message_type_name((enum message_type)9), "unknown");
	json_decref(rows);
}

/* Take ${data} apart and compare; the data is on the heap, to its size. */
static void
check_round_trip(enum message_type type, const union message_any *m,
    const uint8_t *data, size_t bytes)
{
	uint8_t *copy = malloc(bytes);
	struct message_frame frame;
	union message_any got;
	struct reason why = {0};
	const char *field;

	memcpy(copy, data, bytes);
	cr_assert_eq(message_frame(copy, bytes, &frame, &why), LATENTD_OK, "%s",
	    why.text);
	cr_assert_eq(message_decode(&frame, &scratch, &got, &why), LATENTD_OK,
	    "%s", why.text);
	field = fixture_difference(type, m, &got);
	cr_assert_null(field, "%s: %s", message_type_name(type), field);
	free(copy);
}

Test(message, random_messages_of_every_type_survive_encoding)
{
	struct fuzz f = {.state = 42};
	size_t types_n, encoded_n = 0;
	const enum message_type *types = fixture_types(&types_n);

	for (size_t i = 0; i < 20000; i++) {
		enum message_type type = types[i % types_n];
		union message_any m;
		size_t bytes;

		fixture_random(type, &f, &room, &m);
		bytes = message_encode(type, &m, 0, buf, sizeof(buf));
		cr_assert(bytes > 0, "%s", message_type_name(type));
		check_round_trip(type, &m, buf, bytes);
		/* A byte less than needed is too little, wherever it ends. */
		if (i < 20 * types_n) {
			for (size_t n = 0; n < bytes; n += 1 + n / 32)
				cr_assert_eq(
				    message_encode(type, &m, 0, buf, n), 0);
			cr_assert_eq(
			    message_encode(type, &m, 0, buf, bytes - 1), 0);
			cr_assert_eq(
			    message_encode(type, &m, 0, buf, bytes), bytes);
		}
		encoded_n++;
	}
	cr_assert_eq(encoded_n, 20000);
}

Test(message, frame_points_at_header_and_body)
{
	const struct message_empty m = {.instance = 1, .pending = 2};
	size_t bytes = message_encode(MESSAGE_EMPTY, &m, 5, buf, sizeof(buf));
	struct message_frame frame;

	memcpy(buf + bytes, "hello", 5);
	cr_assert_eq(message_frame(buf, bytes + 5, &frame, NULL), LATENTD_OK);
	cr_assert_eq(frame.type, MESSAGE_EMPTY);
	cr_assert_eq(frame.header, buf + MESSAGE_PREAMBLE_BYTES);
	cr_assert_eq(frame.header_bytes, bytes - MESSAGE_PREAMBLE_BYTES);
	cr_assert_eq(frame.body, buf + bytes);
	cr_assert_eq(frame.body_bytes, 5);
	cr_assert_eq(
	    message_frame(buf, bytes + 4, &frame, NULL), LATENTD_ERR_PROTOCOL);
	cr_assert_eq(
	    message_frame(buf, bytes + 6, &frame, NULL), LATENTD_ERR_PROTOCOL);
	cr_assert_eq(frame.body_bytes, 5);
}

Test(message, a_header_beyond_its_limit_is_not_encoded)
{
	static uint8_t large[2 * MESSAGE_FRONT_BYTES];
	struct message_result m = {.key = {"k", 1},
	    .state = JOB_DONE,
	    .part_bytes = room.scratch.numbers,
	    .part_bytes_n = LATENTD_MAX_PARTS};

	for (size_t i = 0; i < LATENTD_MAX_PARTS; i++)
		room.scratch.numbers[i] = UINT64_MAX;
	cr_assert_eq(
	    message_encode(MESSAGE_RESULT, &m, 0, large, sizeof(large)), 0);
	/* What a gigabyte can be split into at the most does fit. */
	for (size_t i = 0; i < LATENTD_MAX_PARTS; i++)
		room.scratch.numbers[i] = LATENTD_MAX_BODY_BYTES;
	cr_assert(
	    message_encode(MESSAGE_RESULT, &m, 0, large, sizeof(large)) > 0);
}

Test(message, required_texts_that_are_null_are_written_empty)
{
	const struct message_rejected m = {.code = LATENTD_ERR_BUSY};
	size_t bytes =
	    message_encode(MESSAGE_REJECTED, &m, 0, buf, sizeof(buf));
	union message_any any = {.rejected = m};

	cr_assert(bytes > 0);
	check_round_trip(MESSAGE_REJECTED, &any, buf, bytes);
}

Test(message, names_on_the_wire_are_those_of_the_protocol)
{
	cr_assert_str_eq(job_state_name(JOB_NEW), "new");
	cr_assert_str_eq(job_state_name(JOB_QUEUED), "queued");
	cr_assert_str_eq(job_state_name(JOB_CANCELLED), "cancelled");
	cr_assert_str_eq(task_name(LATENTD_ENCODE), "encode");
	cr_assert_str_eq(output_name(LATENTD_OUT_NONE), "none");
	cr_assert_str_eq(output_name(LATENTD_OUT_LATENT), "latent");
}
