/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <criterion/criterion.h>

#include "nearest.h"

static const char *const keys[] = {
    "listen", "events", "events_listen", "http", "drain_s"};
#define KEYS_N (sizeof(keys) / sizeof(keys[0]))

static const char *
nearest(const char *word)
{
	const char *found = nearest_name(word, keys, KEYS_N);

	return found != NULL ? found : "none";
}

Test(nearest, one_letter_changed_added_or_dropped_is_near)
{
	cr_assert_str_eq(nearest("lissen"), "listen");
	cr_assert_str_eq(nearest("llisten"), "listen");
	cr_assert_str_eq(nearest("lsten"), "listen");
	cr_assert_str_eq(nearest("event"), "events");
	cr_assert_str_eq(nearest("htpt"), "http");
	cr_assert_str_eq(nearest("drains"), "drain_s");
}

Test(nearest, the_word_itself_is_the_nearest)
{
	for (size_t i = 0; i < KEYS_N; i++)
		cr_assert_str_eq(nearest(keys[i]), keys[i]);
}

Test(nearest, the_closer_of_two_near_names_wins)
{
	cr_assert_str_eq(nearest("events_lisen"), "events_listen");
	cr_assert_str_eq(nearest("eventz"), "events");
}

Test(nearest, a_word_that_differs_by_more_than_a_third_is_near_none)
{
	cr_assert_str_eq(nearest("colour"), "none");
	cr_assert_str_eq(nearest(""), "none");
	cr_assert_str_eq(nearest("h"), "none");
	cr_assert_str_eq(nearest("listen_everywhere"), "none");
}

Test(nearest, there_is_none_among_no_names)
{
	cr_assert_null(nearest_name("listen", NULL, 0));
}

Test(nearest, words_longer_than_any_name_are_near_none)
{
	char word[300];
	const char *const names[] = {word};

	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	cr_assert_null(nearest_name(word, keys, KEYS_N));
	cr_assert_null(nearest_name("listen", names, 1));
	/* 63 letters still fit the table of distances, 64 do not. */
	word[63] = '\0';
	cr_assert_eq(nearest_name(word, names, 1), names[0]);
	word[62] = 'b';
	cr_assert_null(nearest_name(word, keys, KEYS_N));
}
