/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include <criterion/criterion.h>
#include <curl/curl.h>

#include "fate.h"

static const struct {
	long status;
	enum fate fate;
} statuses[] = {{100, FATE_AGAIN}, {103, FATE_AGAIN}, {201, FATE_AGAIN},
    {202, FATE_AGAIN}, {204, FATE_AGAIN}, {206, FATE_AGAIN}, {300, FATE_AGAIN},
    {301, FATE_STOP}, {302, FATE_STOP}, {307, FATE_STOP}, {308, FATE_STOP},
    {400, FATE_JOB}, {401, FATE_STOP}, {402, FATE_STOP}, {403, FATE_STOP},
    {404, FATE_STOP}, {405, FATE_STOP}, {406, FATE_JOB}, {408, FATE_AGAIN},
    {409, FATE_JOB}, {410, FATE_STOP}, {411, FATE_JOB}, {413, FATE_JOB},
    {414, FATE_JOB}, {415, FATE_JOB}, {418, FATE_JOB}, {422, FATE_JOB},
    {425, FATE_AGAIN}, {429, FATE_LOAD}, {431, FATE_JOB}, {499, FATE_JOB},
    {500, FATE_AGAIN}, {501, FATE_AGAIN}, {502, FATE_COLD}, {503, FATE_COLD},
    {504, FATE_LATE}, {505, FATE_AGAIN}, {507, FATE_AGAIN}, {599, FATE_AGAIN}};

static const struct {
	CURLcode code;
	enum fate fates[PHASE_COUNT]; /* connect, upload, think, download */
} codes[] = {
    {CURLE_COULDNT_RESOLVE_HOST, {FATE_AWAY, FATE_AWAY, FATE_AWAY, FATE_AWAY}},
    {CURLE_COULDNT_RESOLVE_PROXY, {FATE_AWAY, FATE_AWAY, FATE_AWAY, FATE_AWAY}},
    {CURLE_COULDNT_CONNECT, {FATE_AWAY, FATE_AWAY, FATE_AWAY, FATE_AWAY}},
    {CURLE_SSL_CONNECT_ERROR, {FATE_AWAY, FATE_AWAY, FATE_AWAY, FATE_AWAY}},
    {CURLE_OPERATION_TIMEDOUT, {FATE_AWAY, FATE_AGAIN, FATE_LATE, FATE_AGAIN}},
    {CURLE_OUT_OF_MEMORY, {FATE_OURS, FATE_OURS, FATE_OURS, FATE_OURS}},
    {CURLE_PEER_FAILED_VERIFICATION,
	{FATE_STOP, FATE_STOP, FATE_STOP, FATE_STOP}},
    {CURLE_SSL_CACERT_BADFILE, {FATE_STOP, FATE_STOP, FATE_STOP, FATE_STOP}},
    {CURLE_URL_MALFORMAT, {FATE_STOP, FATE_STOP, FATE_STOP, FATE_STOP}},
    {CURLE_UNSUPPORTED_PROTOCOL,
	{FATE_STOP, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_RECV_ERROR, {FATE_AWAY, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_SEND_ERROR, {FATE_AWAY, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_PARTIAL_FILE, {FATE_AGAIN, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_GOT_NOTHING, {FATE_AGAIN, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_HTTP2_STREAM, {FATE_AGAIN, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
    {CURLE_WEIRD_SERVER_REPLY,
	{FATE_AGAIN, FATE_AGAIN, FATE_AGAIN, FATE_AGAIN}},
};

Test(fate, statuses_have_the_fates_of_the_table)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		cr_expect_eq(fate_of_status(statuses[i].status, false),
		    statuses[i].fate, "HTTP %ld: %s", statuses[i].status,
		    fate_name(fate_of_status(statuses[i].status, false)));
}

Test(fate, curl_codes_have_the_fates_of_the_table)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		for (int p = 0; p < PHASE_COUNT; p++)
			cr_expect_eq(
			    fate_of_curl((int)codes[i].code, (enum phase)p),
			    codes[i].fates[p], "curl %d, %s",
			    (int)codes[i].code, phase_name((enum phase)p));
	}
}

/* "Never other 4xx", and never a job for what its endpoint did. */
Test(fate, only_the_4xx_can_fail_a_job_and_no_5xx_stops_an_endpoint)
{
	for (long status = 100; status <= 599; status++) {
		enum fate fate = fate_of_status(status, false);

		if (status == 200)
			continue;
		cr_expect(
		    fate > FATE_DONE && fate < FATE_COUNT, "HTTP %ld", status);
		cr_expect(fate != FATE_JOB || (status >= 400 && status < 500),
		    "HTTP %ld", status);
		cr_expect(
		    fate != FATE_STOP || status < 500, "HTTP %ld", status);
	}
}

Test(fate, want_of_memory_is_the_endpoints_trouble_whatever_it_is_called)
{
	for (long status = 400; status <= 599; status++)
		cr_expect_eq(fate_of_status(status, true), FATE_AGAIN,
		    "HTTP %ld", status);
}

Test(fate, no_curl_code_fails_a_job_or_is_a_success)
{
	for (int code = 1; code < CURL_LAST; code++) {
		for (int p = 0; p < PHASE_COUNT; p++) {
			enum fate fate = fate_of_curl(code, (enum phase)p);

			cr_expect(fate > FATE_JOB && fate < FATE_COUNT,
			    "curl %d", code);
		}
	}
}

Test(fate, statuses_that_are_none_are_tried_again)
{
	cr_assert_eq(fate_of_status(0, false), FATE_AGAIN);
	cr_assert_eq(fate_of_status(999, false), FATE_AGAIN);
	cr_assert_eq(fate_of_status(1000, false), FATE_AGAIN);
	cr_assert_eq(fate_of_status(-1, false), FATE_AGAIN);
}

Test(fate, what_would_never_end_by_waiting_counts)
{
	static const bool counts[FATE_COUNT] = {
	    [FATE_AGAIN] = true, [FATE_LATE] = true, [FATE_OURS] = true};

	for (int fate = 0; fate < FATE_COUNT; fate++)
		cr_expect_eq(fate_counts((enum fate)fate), counts[fate], "%s",
		    fate_name((enum fate)fate));
}

Test(fate, names_are_all_there_and_all_different)
{
	for (int i = 0; i < FATE_COUNT; i++) {
		cr_assert_not_null(fate_name((enum fate)i));
		for (int k = 0; k < i; k++)
			cr_assert_neq(strcmp(fate_name((enum fate)i),
					  fate_name((enum fate)k)),
			    0);
	}
	cr_assert_str_eq(fate_name(FATE_OURS), "ours");
	cr_assert_str_eq(fate_name(FATE_LATE), "late");
	cr_assert_str_eq(phase_name(PHASE_CONNECT), "connect");
	cr_assert_str_eq(phase_name(PHASE_DOWNLOAD), "download");
}
