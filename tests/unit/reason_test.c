/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <criterion/criterion.h>

#include "latentd/errors.h"
#include "reason.h"

Test(errors, every_error_has_a_name_of_its_own_and_a_text)
{
	int a, b;

	for (a = 0; a < LATENTD_ERR_COUNT; a++) {
		cr_assert(strlen(latentd_err_text((enum latentd_err)a)) > 0);
		cr_assert_str_neq(
		    latentd_err_name((enum latentd_err)a), "unknown");
		for (b = 0; b < a; b++)
			cr_assert_str_neq(latentd_err_name((enum latentd_err)a),
			    latentd_err_name((enum latentd_err)b));
	}
}

Test(errors, numbers_out_of_range_are_unknown)
{
	/* Read from memory: a constant out of range is undefined to convert. */
	volatile unsigned numbers[] = {LATENTD_ERR_COUNT, 31};

	cr_assert_str_eq(
	    latentd_err_name((enum latentd_err)numbers[0]), "unknown");
	cr_assert_str_eq(
	    latentd_err_name((enum latentd_err)numbers[1]), "unknown");
	cr_assert_str_eq(
	    latentd_err_text((enum latentd_err)numbers[0]), "unknown error");
}

Test(errors, names_are_those_of_the_wire)
{
	cr_assert_str_eq(latentd_err_name(LATENTD_OK), "ok");
	cr_assert_str_eq(latentd_err_name(LATENTD_ERR_TOO_LARGE), "too_large");
	cr_assert_str_eq(latentd_err_name(LATENTD_ERR_ENDPOINT), "endpoint");
}

Test(reason, set_formats_and_returns_the_code)
{
	struct reason why;

	cr_assert_eq(reason_set(&why, LATENTD_ERR_SHAPE, "%d of %s", 3, "x"),
	    LATENTD_ERR_SHAPE);
	cr_assert_eq(why.err, LATENTD_ERR_SHAPE);
	cr_assert_str_eq(why.text, "3 of x");
}

Test(reason, null_is_allowed)
{
	cr_assert_eq(
	    reason_set(NULL, LATENTD_ERR_BUSY, "%s", "text"), LATENTD_ERR_BUSY);
}

Test(reason, an_argument_may_point_into_the_reason)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_IMAGE, "inner");
	reason_set(&why, LATENTD_ERR_ENDPOINT, "outer: %s", why.text);
	cr_assert_str_eq(why.text, "outer: inner");
}

Test(reason, control_characters_become_question_marks)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_INVALID, "%s",
	    "a\nb\tc\x1b[31md\x7f"
	    "e\xc2\x9b"
	    "f\x01");
	cr_assert_str_eq(why.text, "a?b?c?[31md?e?f?");
}

Test(reason, valid_utf8_stays_and_the_rest_becomes_question_marks)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
	    {"\x80", "?"},
	    {"\xc0\xaf", "??"}, /* overlong */
	    {"\xe0\x80\xaf", "???"}, /* overlong */
	    {"\xed\xa0\x80", "???"}, /* surrogate */
	    {"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
	    {"\xf5x", "?x"},
	    {"\xe2\x82", "??"}, /* cut short */
	    {"\xe2\x82x", "??x"},
	    {"\xc2", "?"},
	    {"\xf0\x9f\x98", "???"},
	};
	struct reason why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		reason_set(&why, LATENTD_ERR_INVALID, "%s", cases[i].in);
		cr_expect_str_eq(why.text, cases[i].out, "case %zu", i);
	}
}

Test(reason, long_text_is_cut_at_a_character)
{
	char in[LATENTD_MAX_TEXT_BYTES * 3];
	struct reason why;
	size_t lead, i, n;

	for (lead = 0; lead < 4; lead++) {
		memset(in, 'x', lead);
		for (i = lead; i + 3 < sizeof(in); i += 3)
			memcpy(in + i, "\xe2\x82\xac", 3);
		in[i] = '\0';
		reason_set(&why, LATENTD_ERR_INVALID, "%s", in);
		n = strlen(why.text);
		cr_expect(n > LATENTD_MAX_TEXT_BYTES - 4 &&
		    n < LATENTD_MAX_TEXT_BYTES);
		cr_expect_eq((n - lead) % 3, 0, "cut inside a character");
		cr_expect_null(strchr(why.text, '?'));
	}
}

Test(reason, text_of_two_byte_controls_is_cut_at_the_limit)
{
	char in[LATENTD_MAX_TEXT_BYTES * 3];
	struct reason why;
	size_t i;

	for (i = 0; i + 2 < sizeof(in); i += 2)
		memcpy(in + i, "\xc2\x80", 2);
	in[i] = '\0';
	reason_set(&why, LATENTD_ERR_INVALID, "%s", in);
	cr_assert_eq(strlen(why.text), LATENTD_MAX_TEXT_BYTES - 1);
	cr_assert_eq(strspn(why.text, "?"), LATENTD_MAX_TEXT_BYTES - 1);
}
