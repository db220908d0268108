/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "message_fixture.h"

#define INPUTS_N 250000
#define INPUT_BYTES 4096u

static struct fixture_room room;
static struct message_scratch scratch, again;
static uint8_t seeds[512][INPUT_BYTES];
static size_t seed_bytes[512];
static size_t seeds_n;

static void
add_seeds(const char *section)
{
	json_t *rows = fixture_messages(section);
	const json_t *row;
	size_t i, bytes;

	json_array_foreach(rows, i, row)
	{
		uint8_t *data = fixture_hex(row, &bytes);

		if (bytes <= INPUT_BYTES && seeds_n < 512) {
			memcpy(seeds[seeds_n], data, bytes);
			seed_bytes[seeds_n++] = bytes;
		}
		free(data);
	}
	json_decref(rows);
}

static void
add_random_seeds(struct fuzz *f)
{
	size_t types_n;
	const enum message_type *types = fixture_types(&types_n);

	for (size_t i = 0; seeds_n < 512; i++) {
		union message_any m;
		size_t bytes;

		fixture_random(types[i % types_n], f, &room, &m);
		bytes = message_encode(
		    types[i % types_n], &m, 0, seeds[seeds_n], INPUT_BYTES);
		if (bytes > 0)
			seed_bytes[seeds_n++] = bytes;
	}
}

/* Make the preamble true again, so that the header is looked at. */
static void
repair(uint8_t *data, size_t bytes)
{
	size_t header_bytes = bytes - MESSAGE_PREAMBLE_BYTES;

	memcpy(data, "LD\x01", 3);
	memset(data + 4, 0, 12);
	data[4] = (uint8_t)(header_bytes & 0xff);
	data[5] = (uint8_t)(header_bytes >> 8);
}

static size_t
make_input(struct fuzz *f, uint8_t *data)
{
	size_t which = fuzz_below(f, seeds_n), bytes = seed_bytes[which];

	memcpy(data, seeds[which], bytes);
	for (size_t i = fuzz_below(f, 4); i > 0; i--)
		bytes = fuzz_mutate(f, data, bytes, INPUT_BYTES);
	if (bytes >= MESSAGE_PREAMBLE_BYTES && fuzz_below(f, 16) != 0)
		repair(data, bytes);
	return bytes;
}

/* What was accepted must encode, and decode to the same once more. */
static void
check_accepted(const struct message_frame *frame, const union message_any *m)
{
	static uint8_t buf[MESSAGE_FRONT_BYTES];
	size_t bytes =
	    message_encode(frame->type, m, frame->body_bytes, buf, sizeof(buf));
	struct message_frame second;
	union message_any got;
	const char *field;

	cr_assert(bytes > 0, "%s", message_type_name(frame->type));
	cr_assert(bytes <= MESSAGE_PREAMBLE_BYTES + frame->header_bytes,
	    "%s grew", message_type_name(frame->type));
	memset(buf + 8, 0, 8);
	cr_assert_eq(message_frame(buf, bytes, &second, NULL), LATENTD_OK);
	cr_assert_eq(message_decode(&second, &again, &got, NULL), LATENTD_OK);
	field = fixture_difference(frame->type, m, &got);
	cr_assert_null(field, "%s: %s", message_type_name(frame->type), field);
}

Test(message, mutated_messages_are_refused_or_mean_what_they_encode_to)
{
	struct fuzz f = {.state = 4711};
	size_t good_n = 0, bad_n = 0;
	static uint8_t input[INPUT_BYTES];

	add_seeds("messages");
	add_seeds("tolerated");
	add_seeds("refused");
	add_random_seeds(&f);
	for (int i = 0; i < INPUTS_N; i++) {
		size_t bytes = make_input(&f, input);
		uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
		struct message_frame frame;
		union message_any m;
		struct reason why = {.err = LATENTD_OK};

		memcpy(copy, input, bytes);
		if (message_frame(copy, bytes, &frame, &why) == LATENTD_OK &&
		    message_decode(&frame, &scratch, &m, &why) == LATENTD_OK) {
			check_accepted(&frame, &m);
			good_n++;
		} else {
			cr_assert(why.err != LATENTD_OK && why.text[0] != '\0');
			bad_n++;
		}
		free(copy);
	}
	cr_assert(good_n > INPUTS_N / 5 && bad_n > INPUTS_N / 5,
	    "%zu accepted, %zu refused", good_n, bad_n);
}
