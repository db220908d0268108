/* SPDX-License-Identifier: Apache-2.0 */
/* Where producers may connect, with which files, and what is refused. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config_fixture.h"

#define END ((const char *)NULL)
#define INVALID LATENTD_ERR_INVALID
#define SECRET "a secret, of 26 characters"

/* For this test only; nobody trusts them. */
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBfzCCASWgAwIBAgIUIntA5ww1F+yFOrouzwwcUSu3S28wCgYIKoZIzj0EAwIw\n"
    "FDESMBAGA1UEAwwJdW5pdCB0ZXN0MCAXDTI2MTEyMzA0MTIzMloYDzIxMjYxMDMw\n"
    "MDQxMjMyWjAUMRIwEAYDVQQDDAl1bml0IHRlc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
    "PQMBBwNCAAS10KVDnCGxf4p04SzRUZtvgheAVHf9UDvcGCrNjnNiOKMyoTD2XKkt\n"
    "tzUMGRzlqf9W0nftQYdaVVmIt6IjB0tdo1MwUTAdBgNVHQ4EFgQUSoEO+PQv2Cdf\n"
    "K77rN+XD3AWXpaMwHwYDVR0jBBgwFoAUSoEO+PQv2CdfK77rN+XD3AWXpaMwDwYD\n"
    "VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB3xAjMuskWeVESYoQ6lX+p\n"
    "Fz1gDDWupQT70jX8Kfyb7wIhAIuu7TX02YPGMcTkQQoJN5IDaj6wzkHShdTXiTxG\n"
    "OoIl\n"
    "-----END CERTIFICATE-----\n";
static const char key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZOgtsfysUQAvShFP\n"
    "AXsULJ95I0DleL7m3238I1sKuI6hRANCAAS10KVDnCGxf4p04SzRUZtvgheAVHf9\n"
    "UDvcGCrNjnNiOKMyoTD2XKkttzUMGRzlqf9W0nftQYdaVVmIt6IjB0td\n"
    "-----END PRIVATE KEY-----\n";

static struct fixture_file files[3]; /* certificate, key, other */

static void
open_files(void)
{
	files[0] = fixture_file(certificate, strlen(certificate));
	files[1] = fixture_file(key, strlen(key));
	files[2] = fixture_file("no PEM\n", 7);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(fchmod(files[i].fd, 0600), 0);
}

static void
close_files(void)
{
	for (size_t i = 0; i < 3; i++)
		fixture_file_close(&files[i]);
}

TestSuite(config_listen, .init = open_files, .fini = close_files);

/* A configuration that listens at ${url} with these files; -1: without. */
static const char *
text_of(const char *url, int cert, int private, int ca)
{
	static const char *const keys[] = {
	    "tls_certificate", "tls_key", "tls_client_ca"};
	const int which[] = {cert, private, ca};
	static char text[1024];
	size_t n;

	n = (size_t)snprintf(
	    text, sizeof(text), "[daemon]\nlisten = %s\n", url);
	for (size_t i = 0; i < 3; i++) {
		if (which[i] >= 0)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
			    "%s = %s\n", keys[i], files[which[i]].path);
	}
	snprintf(text + n, sizeof(text) - n, "%s", FIXTURE_ENDPOINT);
	return text;
}

static void
accept(const char *text)
{
	struct reason why = {0};
	struct config *c = fixture_config(text, &why);

	cr_assert_not_null(c, "%s", why.text);
	config_destroy(c);
}

Test(config_listen, tls_needs_its_files_and_beyond_loopback_a_client_ca)
{
	fixture_refused(text_of("tls+tcp://127.0.0.1:1", -1, -1, -1), INVALID,
	    2, "tls_certificate = FILE", END);
	fixture_refused(text_of("tls+tcp://127.0.0.1:1", 0, -1, -1), INVALID, 2,
	    "tls_key = FILE", END);
	fixture_refused(text_of("tls+tcp://[::]:1", 0, 1, -1), INVALID, 2,
	    "[::]:1", "tls_client_ca", "insecure = yes", END);
	accept(text_of("tls+tcp://127.0.0.1:1", 0, 1, -1));
	accept(text_of("tls+tcp://[::1]:1", 0, 1, 0));
	accept(text_of("tls+tcp://0.0.0.0:1", 0, 1, 0));
	accept(text_of("tls+tcp://0.0.0.0:1\ninsecure = yes", 0, 1, -1));
}

static size_t
threads_n(void)
{
	DIR *dir = opendir("/proc/self/task");
	size_t n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* nng's would take signals, and escape what is done to this one later. */
Test(config_listen, reading_certificates_starts_no_thread)
{
	size_t before_n = threads_n();

	accept(text_of("tls+tcp://0.0.0.0:1", 0, 1, 0));
	cr_assert_eq(threads_n(), before_n);
}

Test(config_listen, plain_tcp_is_for_loopback_or_insecure)
{
	fixture_refused(text_of("tcp://192.0.2.1:1", 0, 1, 0), INVALID, 2,
	    "plain tcp", "tcp://192.0.2.1:1", "insecure = yes", END);
	fixture_refused("[daemon]\nevents = state\n"
			"events_listen = tcp://0.0.0.0:1\n" FIXTURE_ENDPOINT,
	    INVALID, 3, "events_listen", "plain tcp", END);
	fixture_refused("[daemon]\nlisten = ipc:///tmp/a\n"
			"listen = tcp://127.0.0.1:1\n"
			"listen = tcp://[::]:1\n" FIXTURE_ENDPOINT,
	    INVALID, 4, "tcp://[::]:1", END);
	accept(text_of("tcp://127.8.9.1:1", -1, -1, -1));
	accept(text_of("tcp://0.0.0.0:1\ninsecure = yes", -1, -1, -1));
}

Test(config_listen, addresses_are_numbers_with_a_port)
{
	static const char *const wrong[] = {"tcp://render1.lan:1",
	    "tls+tcp://127.0.0.1", "tcp://127.0.0.1:65536", "tcp://:1",
	    "tcp://[::1:1", "tls+tcp://127.0.0.1:1/x"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		fixture_refused(text_of(wrong[i], 0, 1, 0), INVALID, 2,
		    "numeric address", wrong[i], END);
	fixture_refused(text_of("ws://127.0.0.1:1", 0, 1, 0), INVALID, 2,
	    "tls+tcp://", END);
}

Test(config_listen, files_must_be_pem_that_can_be_used)
{
	fixture_refused(text_of("ipc:///tmp/a", 2, 1, -1), INVALID,
	    4 + FIXTURE_ENDPOINT_LINES, "tls_certificate", END);
	fixture_refused(text_of("ipc:///tmp/a", 0, 2, -1), INVALID,
	    4 + FIXTURE_ENDPOINT_LINES, "tls_key", END);
	fixture_refused(text_of("ipc:///tmp/a", 0, 1, 2), INVALID,
	    5 + FIXTURE_ENDPOINT_LINES, "tls_client_ca", END);
	fixture_refused("[daemon]\ntls_key = /nonexistent/k\n" FIXTURE_ENDPOINT,
	    LATENTD_ERR_IO, 2, "tls_key /nonexistent/k", END);
	fixture_refused(
	    "[daemon]\ntls_client_ca = /dev/zero\n" FIXTURE_ENDPOINT, INVALID,
	    2, "more than 262144 bytes", END);
}

Test(config_listen, a_key_that_everybody_may_read_is_refused)
{
	cr_assert_eq(fchmod(files[1].fd, 0604), 0);
	fixture_refused(text_of("ipc:///tmp/a", 0, 1, -1), INVALID, 4,
	    "open to everybody (mode 604)", "chmod o-rw", END);
	cr_assert_eq(fchmod(files[1].fd, 0640), 0);
	accept(text_of("ipc:///tmp/a", 0, 1, -1));
}

static const char *
text_of_secret(const char *path)
{
	static char text[512];

	snprintf(text, sizeof(text), "[producer p]\nsecret_file = %s\n%s", path,
	    FIXTURE_ENDPOINT);
	return text;
}

static void
refuse_secret(const char *data, size_t bytes, const char *words)
{
	struct fixture_file file = fixture_file(data, bytes);

	cr_assert_eq(fchmod(file.fd, 0400), 0);
	fixture_refused(text_of_secret(file.path), INVALID, 2, words, END);
	fixture_file_close(&file);
}

Test(config_listen, a_secret_has_16_to_64_bytes_and_is_nobody_else_s)
{
	struct fixture_file file = fixture_file(SECRET "\n", sizeof(SECRET));
	static char long_one[66];
	struct reason why;
	struct config *c;

	fixture_refused(text_of_secret("/nonexistent/s"), LATENTD_ERR_IO, 2,
	    "secret_file /nonexistent/s", END);
	memset(long_one, 's', sizeof(long_one));
	refuse_secret("", 0, "holds 0 bytes");
	refuse_secret("fifteen bytes..\n", 16, "holds 15 bytes");
	refuse_secret(long_one, 65, "holds 65 bytes");
	refuse_secret(long_one, 66, "more than 65 bytes");
	cr_assert_eq(fchmod(file.fd, 0644), 0);
	fixture_refused(
	    text_of_secret(file.path), INVALID, 2, "open to everybody", END);
	cr_assert_eq(fchmod(file.fd, 0600), 0);
	c = fixture_config(text_of_secret(file.path), &why);
	cr_assert_not_null(c);
	cr_assert_eq(c->producers[0].secret_bytes, sizeof(SECRET) - 1);
	cr_assert_eq(
	    memcmp(c->producers[0].secret, SECRET, sizeof(SECRET) - 1), 0);
	cr_assert_eq(c->producers[0].bounds.weight, 1);
	config_destroy(c);
	fixture_file_close(&file);
}

Test(config_listen, users_have_half_and_a_quarter_unless_told)
{
	struct config *c;
	struct reason why;

	c = fixture_config(FIXTURE_ENDPOINT, &why);
	cr_assert_eq(c->user_connections, 256);
	cr_assert_eq(c->user.jobs_max, 5000);
	cr_assert_eq(c->user.bytes_max, UINT64_C(1) << 30);
	config_destroy(c);
	c = fixture_config("[daemon]\nuser_connections = 7\n"
			   "[queue]\nuser_jobs = 8\n"
			   "user_bytes = 9M\n" FIXTURE_ENDPOINT,
	    &why);
	cr_assert_eq(c->user_connections, 7);
	cr_assert_eq(c->user.jobs_max, 8);
	cr_assert_eq(c->user.bytes_max, 9u << 20);
	config_destroy(c);
	fixture_refused("[daemon]\nuser_connections = 0\n" FIXTURE_ENDPOINT,
	    INVALID, 2, "from 1 to 1024", END);
	fixture_refused("[queue]\nuser_jobs = 0\n" FIXTURE_ENDPOINT, INVALID, 2,
	    "user_jobs is \"0\"", END);
	fixture_refused("[queue]\nuser_bytes = 1\n" FIXTURE_ENDPOINT, INVALID,
	    2, "user_bytes is \"1\"", END);
}
