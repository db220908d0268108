/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "config_fixture.h"
#include "publish.h"

#define INVALID LATENTD_ERR_INVALID
#define END ((const char *)NULL)

static struct config *
accepted(const char *text)
{
	struct reason why;
	struct config *config = fixture_config(text, &why);

	cr_assert_not_null(config, "%s", why.text);
	return config;
}

Test(config, one_endpoint_is_enough_and_the_rest_has_defaults)
{
	struct config *c = accepted(FIXTURE_ENDPOINT);

	cr_assert_eq(c->listen_n, 1);
	cr_assert_str_eq(c->listen[0], "ipc:///run/latentd/latentd.sock");
	cr_assert_eq(c->events, EVENTS_NONE);
	cr_assert_str_eq(c->events_listen, "");
	cr_assert_str_eq(c->http, "");
	cr_assert_eq(c->drain_s, 60);
	cr_assert_eq(c->jobs, 10000);
	cr_assert_eq(c->bytes, UINT64_C(2) << 30);
	cr_assert_eq(c->keep_s, 3600);
	cr_assert_eq(c->endpoints_n, 1);
	cr_assert_str_eq(c->endpoints[0].name, "main");
	cr_assert_str_eq(c->endpoints[0].model->name, "sdxl");
	cr_assert_eq(c->endpoints[0].task, LATENTD_DECODE);
	cr_assert_str_eq(c->endpoints[0].url, "http://127.0.0.1:8000/sdxl");
	cr_assert_eq(c->endpoints[0].parallel, 0);
	cr_assert_eq(c->endpoints[0].weight, 1);
	cr_assert_not(c->endpoints[0].backup);
	cr_assert_str_eq(c->endpoints[0].health, "");
	cr_assert_gt(c->endpoints[0].times.connect_s, 0);
	cr_assert_gt(c->endpoints[0].times.stall_s, 0);
	cr_assert_gt(c->endpoints[0].times.think_s, 0);
	cr_assert_gt(c->endpoints[0].times.total_s, 0);
	cr_assert_null(c->endpoints[0].token);
	config_destroy(c);
}

Test(config, every_key_is_read)
{
	struct fixture_file token = fixture_file("hf_abc\n", 7);
	struct config *c;
	char text[2048];

	snprintf(text, sizeof(text),
	    "; a comment\n"
	    "# another\n"
	    "\n"
	    "[daemon]\n"
	    "listen = ipc:///tmp/one.sock\n"
	    "listen = tcp://127.0.0.1:8376\n"
	    "events = image\n"
	    "events_listen = ipc:///tmp/two.sock\n"
	    "http = 127.0.0.1:8377\n"
	    "drain_s = 5\n"
	    "[queue]\n"
	    "jobs = 7\n"
	    "bytes = 1 MiB\n"
	    "keep_s = 9\n"
	    "attempts = 4\n"
	    "hedge_percent = 2\n"
	    "[endpoint A-z.0_9]\n"
	    "model = hunyuan-video\n"
	    "task = encode\n"
	    "url = https://example.org/encode ; inline comment\n"
	    "parallel = 1024\n"
	    "token_file = %s\n",
	    token.path);
	c = accepted(text);
	cr_assert_eq(c->listen_n, 2);
	cr_assert_str_eq(c->listen[0], "ipc:///tmp/one.sock");
	cr_assert_str_eq(c->listen[1], "tcp://127.0.0.1:8376");
	cr_assert_eq(c->events, EVENTS_IMAGE);
	cr_assert_str_eq(c->events_listen, "ipc:///tmp/two.sock");
	cr_assert_str_eq(c->http, "127.0.0.1:8377");
	cr_assert_eq(c->drain_s, 5);
	cr_assert_eq(c->jobs, 7);
	cr_assert_eq(c->bytes, 1048576);
	cr_assert_eq(c->keep_s, 9);
	cr_assert_str_eq(c->endpoints[0].name, "A-z.0_9");
	cr_assert_str_eq(c->endpoints[0].model->name, "hunyuan-video");
	cr_assert_eq(c->endpoints[0].task, LATENTD_ENCODE);
	cr_assert_str_eq(c->endpoints[0].url, "https://example.org/encode");
	cr_assert_eq(c->attempts, 4);
	cr_assert_eq(c->hedge_percent, 2);
	cr_assert_eq(c->endpoints[0].parallel, 1024);
	cr_assert_str_eq(c->endpoints[0].token, "hf_abc");
	config_destroy(c);
	fixture_file_close(&token);
}

Test(config, every_key_of_an_endpoints_limits_is_read)
{
	struct config *c = accepted(FIXTURE_ENDPOINT "weight = 3\n"
						     "backup = yes\n"
						     "health = /v1/health-x\n"
						     "connect_s = 11\n"
						     "stall_s = 12\n"
						     "think_s = 13\n"
						     "total_s = 14\n"
						     "scale_up_s = 15\n");

	cr_assert_eq(c->endpoints[0].weight, 3);
	cr_assert(c->endpoints[0].backup);
	cr_assert_str_eq(c->endpoints[0].health, "/v1/health-x");
	cr_assert_eq(c->endpoints[0].times.connect_s, 11);
	cr_assert_eq(c->endpoints[0].times.stall_s, 12);
	cr_assert_eq(c->endpoints[0].times.think_s, 13);
	cr_assert_eq(c->endpoints[0].times.total_s, 14);
	cr_assert_eq(c->endpoints[0].times.scale_up_s, 15);
	config_destroy(c);
}

Test(config, http_beyond_loopback_needs_a_token_or_the_word)
{
	struct fixture_file token = fixture_file("sesame\n", 7);
	struct config *c;
	char text[512];

	fixture_refused("[daemon]\nhttp = 0.0.0.0:80\n" FIXTURE_ENDPOINT,
	    INVALID, 2, "0.0.0.0:80", "http_token_file", "insecure = yes", END);
	fixture_refused("[daemon]\ninsecure = no\n"
			"http = [::]:80\n" FIXTURE_ENDPOINT,
	    INVALID, 3, "[::]:80", "http_token_file", END);
	c = accepted("[daemon]\nhttp = 0.0.0.0:80\n"
		     "insecure = yes\n" FIXTURE_ENDPOINT);
	cr_assert(c->insecure);
	config_destroy(c);
	snprintf(text, sizeof(text),
	    "[daemon]\nhttp_token_file = %s\nhttp = 192.0.2.1:80\n%s",
	    token.path, FIXTURE_ENDPOINT);
	c = accepted(text);
	cr_assert_str_eq(c->http_token, "sesame");
	cr_assert_not(c->insecure);
	config_destroy(c);
	fixture_file_close(&token);
}

Test(config, http_is_a_numeric_address_and_insecure_yes_or_no)
{
	fixture_refused("[daemon]\nhttp = example.org:80\n" FIXTURE_ENDPOINT,
	    INVALID, 2, "http is \"example.org:80\"", END);
	fixture_refused("[daemon]\nhttp = 127.0.0.1\n" FIXTURE_ENDPOINT,
	    INVALID, 2, "http is", END);
	fixture_refused("[daemon]\nhttp = []:80\n" FIXTURE_ENDPOINT, INVALID, 2,
	    "http is", END);
	fixture_refused("[daemon]\ninsecure = maybe\n" FIXTURE_ENDPOINT,
	    INVALID, 2, "insecure is \"maybe\"", "yes or no", END);
	fixture_refused(
	    "[daemon]\nhttp_token_file = /nowhere/t\n" FIXTURE_ENDPOINT,
	    LATENTD_ERR_IO, 2, "http_token_file /nowhere/t", END);
}

Test(config, the_events_socket_stands_beside_the_first_one)
{
	struct config *c = accepted("[daemon]\nlisten = ipc:///tmp/a.sock\n"
				    "events = state\n" FIXTURE_ENDPOINT);

	cr_assert_eq(c->events, EVENTS_STATE);
	cr_assert_str_eq(c->events_listen, "ipc:///tmp/a.sock.events");
	config_destroy(c);
	fixture_refused("[daemon]\nlisten = tcp://127.0.0.1:1\n"
			"events = state\n" FIXTURE_ENDPOINT,
	    INVALID, 0, "events_listen", END);
}

Test(config, sections_may_come_in_any_order_and_endpoints_many_times)
{
	struct config *c = accepted(FIXTURE_ENDPOINT
	    "[queue]\njobs = 3\n"
	    "[endpoint second]\nurl = http://h/\ntask = encode\n"
	    "model = sd-v1\n[daemon]\ndrain_s = 0");

	cr_assert_eq(c->endpoints_n, 2);
	cr_assert_str_eq(c->endpoints[1].name, "second");
	cr_assert_eq(c->jobs, 3);
	cr_assert_eq(c->drain_s, 0);
	config_destroy(c);
}

static uint64_t
bytes_of(const char *size)
{
	char text[256];
	struct config *c;
	uint64_t bytes;

	snprintf(
	    text, sizeof(text), "[queue]\nbytes = %s\n" FIXTURE_ENDPOINT, size);
	c = accepted(text);
	bytes = c->bytes;
	config_destroy(c);
	return bytes;
}

Test(config, sizes_have_units)
{
	cr_assert_eq(bytes_of("1048576"), 1048576);
	cr_assert_eq(bytes_of("1024K"), 1048576);
	cr_assert_eq(bytes_of("1024 kB"), 1048576);
	cr_assert_eq(bytes_of("512M"), UINT64_C(512) << 20);
	cr_assert_eq(bytes_of("512 MiB"), UINT64_C(512) << 20);
	cr_assert_eq(bytes_of("2G"), UINT64_C(2) << 30);
	cr_assert_eq(bytes_of("2gib"), UINT64_C(2) << 30);
	cr_assert_eq(bytes_of("16T"), UINT64_C(1) << 44);
	cr_assert_eq(bytes_of("17592186044416"), UINT64_C(1) << 44);
}

static void
value_refused(const char *section, const char *key, const char *value)
{
	char text[512];

	snprintf(text, sizeof(text), "%s[%s]\n%s = %s\n",
	    strncmp(section, "endpoint", 8) == 0 ? "" : FIXTURE_ENDPOINT,
	    section, key, value);
	fixture_refused(text, INVALID,
	    strncmp(section, "endpoint", 8) == 0 ? 2 : 6, key, END);
}

Test(config, numbers_out_of_range_or_with_anything_behind_are_refused)
{
	static const char *const no_numbers[] = {"-1", "+1", "1.5", "1e3",
	    "0x10", "ten", "1 2", "18446744073709551616",
	    "99999999999999999999999", "10K"};
	static const char *const no_sizes[] = {"0", "1048575", "1023K", "17T",
	    "17592186044417", "16777216T", "18446744073709551615T", "1MM",
	    "1KM", "1 M M", "1GiBB", "1XB", "M", "1048576 bytes", "-1M"};

	for (size_t i = 0; i < sizeof(no_numbers) / sizeof(char *); i++) {
		value_refused("queue", "jobs", no_numbers[i]);
		value_refused("queue", "keep_s", no_numbers[i]);
		value_refused("daemon", "drain_s", no_numbers[i]);
		value_refused("endpoint e", "parallel", no_numbers[i]);
	}
	for (size_t i = 0; i < sizeof(no_sizes) / sizeof(char *); i++)
		value_refused("queue", "bytes", no_sizes[i]);
	value_refused("queue", "jobs", "0");
	value_refused("queue", "jobs", "10000001");
	value_refused("queue", "keep_s", "0");
	value_refused("queue", "keep_s", "2592001");
	value_refused("daemon", "drain_s", "86401");
	value_refused("endpoint e", "parallel", "0");
	value_refused("endpoint e", "parallel", "1025");
	value_refused("endpoint e", "weight", "0");
	value_refused("endpoint e", "weight", "1001");
	value_refused("endpoint e", "backup", "maybe");
	value_refused("endpoint e", "connect_s", "0");
	value_refused("endpoint e", "stall_s", "0");
	value_refused("endpoint e", "think_s", "86401");
	value_refused("endpoint e", "total_s", "0");
	value_refused("endpoint e", "scale_up_s", "3601");
	value_refused("queue", "attempts", "0");
	value_refused("queue", "hedge_percent", "101");
}

Test(config, a_health_path_is_a_path_and_nothing_else)
{
	static const char *const wrong[] = {
	    "health", "http://h/x", "/a b", "/a?b", "/a#b", "/\xc3\xa4"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(char *); i++)
		value_refused("endpoint e", "health", wrong[i]);
}

Test(config, addresses_that_are_none_or_not_safe_are_refused)
{
	static const char *const sockets[] = {"/run/latentd.sock",
	    "ipc://relative.sock", "ipc://", "tcp://0.0.0.0:8376",
	    "tcp://192.168.1.2:8376", "tcp://*:8376", "tcp://example.org:1",
	    "TCP://0.0.0.0:8376", "IPC://relative", "inproc://x",
	    "tls+tcp://127.0.0.1:1", "ipc:///tmp/a b",
	    "tcp://127.evil.example:80", "tcp://127.0.0.1",
	    "tcp://127.0.0.1:65536", "tcp://localhost:80x"};
	static const char *const https[] = {"8377", "0.0.0.0:8377", "*:8377",
	    "192.168.0.1:8377", "example.org:80", "[::]:8377", "http://x"};

	for (size_t i = 0; i < sizeof(sockets) / sizeof(char *); i++) {
		value_refused("daemon", "listen", sockets[i]);
		value_refused("daemon", "events_listen", sockets[i]);
	}
	for (size_t i = 0; i < sizeof(https) / sizeof(char *); i++)
		value_refused("daemon", "http", https[i]);
	value_refused("daemon", "events", "all");
	value_refused("daemon", "events", "STATE");
}

Test(config, socket_paths_longer_than_sockaddr_un_are_refused)
{
	char text[512], path[128] = "/";

	memset(path + 1, 'p', 99);
	snprintf(text, sizeof(text),
	    "[daemon]\nlisten = ipc://%s\n" FIXTURE_ENDPOINT, path);
	config_destroy(accepted(text));
	path[100] = 'p';
	snprintf(text, sizeof(text),
	    "[daemon]\nlisten = ipc://%s\n" FIXTURE_ENDPOINT, path);
	fixture_refused(text, INVALID, 2, "listen", "100", END);
}

Test(config, endpoint_values_are_checked)
{
	fixture_refused("[endpoint e]\nmodel = sdxxl\n", INVALID, 2, "sdxxl",
	    "sd-v1, sdxl, flux, hunyuan-video", END);
	fixture_refused("[endpoint e]\ntask = both\n", INVALID, 2, "both",
	    "decode or encode", END);
	fixture_refused("[endpoint e]\nurl = ftp://h/\n", INVALID, 2, "http://",
	    "https://", END);
	fixture_refused(
	    "[endpoint e]\nurl = http://h/?a=1\n", INVALID, 2, "query", END);
	fixture_refused(
	    "[endpoint e]\nurl = http://h/#x\n", INVALID, 2, "fragment", END);
	fixture_refused(
	    "[endpoint e]\nurl = http://h/a b\n", INVALID, 2, "blanks", END);
	fixture_refused("[endpoint e]\nurl = http://h/caf\xc3\xa9\n", INVALID,
	    2, "ASCII", END);
}

Test(config, credentials_in_a_url_are_refused_and_not_repeated)
{
	struct reason why;

	cr_assert_null(fixture_config(
	    "[endpoint e]\nurl = https://user:hunter2@h/\n", &why));
	cr_assert_null(strstr(why.text, "hunter2"), "%s", why.text);
	cr_assert_not_null(strstr(why.text, "token_file"), "%s", why.text);
}

Test(config, an_endpoint_without_model_task_or_url_is_refused_at_its_line)
{
	fixture_refused("\n\n[endpoint a]\ntask = decode\nurl = http://h/\n",
	    INVALID, 3, "[endpoint a]", "\"model\"", END);
	fixture_refused("[endpoint a]\nmodel = sdxl\nurl = http://h/\n",
	    INVALID, 1, "\"task\"", END);
	fixture_refused("[endpoint a]\nmodel = sdxl\ntask = encode\n", INVALID,
	    1, "\"url\"", END);
	fixture_refused(FIXTURE_ENDPOINT "[endpoint b]\nmodel = sdxl\n",
	    INVALID, 5, "[endpoint b]", END);
}

Test(config, many_endpoints_are_fine_and_too_many_are_refused)
{
	size_t room = 300 * 96, used = 0;
	char *text = malloc(room);
	struct reason why;
	struct config *c;

	cr_assert_not_null(text);
	for (unsigned i = 0; i <= CONFIG_ENDPOINTS_MAX; i++) {
		if (i == CONFIG_ENDPOINTS_MAX) {
			c = fixture_config(text, &why);
			cr_assert_not_null(c, "%s", why.text);
			cr_assert_eq(c->endpoints_n, CONFIG_ENDPOINTS_MAX);
			config_destroy(c);
		}
		used += (size_t)snprintf(text + used, room - used,
		    "[endpoint e%u]\nmodel = flux\ntask = decode\n"
		    "url = http://h/%u\n",
		    i, i);
	}
	fixture_refused(
	    text, INVALID, 4 * CONFIG_ENDPOINTS_MAX + 1, "256", END);
	free(text);
}

/* ---- token files ---- */

static void
token_refused(const void *token, size_t bytes, enum latentd_err err,
    const char *words, const char *secret)
{
	struct fixture_file file = fixture_file(token, bytes);
	struct reason why;
	char text[256];

	snprintf(text, sizeof(text), FIXTURE_ENDPOINT "token_file = %s\n",
	    file.path);
	fixture_refused(text, err, 5, file.path, words, END);
	cr_assert_null(fixture_config(text, &why));
	cr_assert_null(strstr(why.text, secret), "%s", why.text);
	fixture_file_close(&file);
}

Test(config, token_files_hold_one_line_of_printable_ascii)
{
	static char large[4098];

	memset(large, 't', sizeof(large));
	token_refused("", 0, INVALID, "empty", "secret");
	token_refused("\n\r\n", 3, INVALID, "empty", "secret");
	token_refused("secret one", 10, INVALID, "blanks", "secret o");
	token_refused(" secret", 7, INVALID, "blanks", " secret");
	token_refused("secret\t", 7, INVALID, "blanks", "secret");
	token_refused("secret\nX-Evil: 1", 16, INVALID, "one line", "Evil");
	token_refused("sec\0ret", 7, INVALID, "ASCII", "sec");
	token_refused("secr\xc3\xa9t", 7, INVALID, "ASCII", "secr");
	token_refused("secret\x7f", 7, INVALID, "ASCII", "secret");
	token_refused(large, 4097, INVALID, "4096", "ttt");
	fixture_refused(FIXTURE_ENDPOINT "token_file = /nonexistent/token\n",
	    LATENTD_ERR_IO, 5, "/nonexistent/token", "No such file", END);
	fixture_refused(FIXTURE_ENDPOINT "token_file = /tmp\n", LATENTD_ERR_IO,
	    5, "directory", END);
}

Test(config, line_ends_behind_a_token_do_not_count)
{
	static const char *const tokens[] = {
	    "hf_x", "hf_x\n", "hf_x\r\n", "hf_x\n\n"};

	for (size_t i = 0; i < 4; i++) {
		struct fixture_file file =
		    fixture_file(tokens[i], strlen(tokens[i]));
		struct config *c;
		char text[256];

		snprintf(text, sizeof(text),
		    FIXTURE_ENDPOINT "token_file = %s\n", file.path);
		c = accepted(text);
		cr_assert_str_eq(c->endpoints[0].token, "hf_x");
		config_destroy(c);
		fixture_file_close(&file);
	}
}

static char *
printed(const struct config *c)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	config_print(c, out);
	fclose(out);
	return text;
}

Test(config, what_is_printed_reads_back_the_same_and_has_no_secret)
{
	struct fixture_file token = fixture_file("hf_secret", 9);
	struct config *c, *again;
	char text[1024], *first, *second;

	snprintf(text, sizeof(text),
	    "[daemon]\nlisten = ipc:///tmp/a\nlisten = tcp://[::1]:1\n"
	    "events = image\nhttp = localhost:80\ndrain_s = 1\n"
	    "[queue]\nbytes = 3G\njobs = 2\nkeep_s = 3\n" FIXTURE_ENDPOINT
	    "token_file = %s\nparallel = 9\nweight = 2\nbackup = yes\n"
	    "health = /up\nconnect_s = 3\nscale_up_s = 600\n"
	    "[endpoint b]\nmodel = flux\ntask = encode\nurl = http://h\n",
	    token.path);
	c = accepted(text);
	first = printed(c);
	cr_assert_null(strstr(first, "hf_secret"), "%s", first);
	cr_assert_not_null(strstr(first, token.path));
	again = accepted(first);
	second = printed(again);
	cr_assert_str_eq(first, second);
	free(first);
	free(second);
	config_destroy(c);
	config_destroy(again);
	fixture_file_close(&token);
}

Test(config, destroying_nothing_is_allowed)
{
	config_destroy(NULL);
}
