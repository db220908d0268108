/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line.  One table has every option with its reader, so that the
 * nearest name to a mistyped one can be offered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"
#include "number.h"
#include "options.h"

#define MIB (UINT64_C(1024) * 1024)

static const char usage[] =
    "usage: latentd-endpoint [OPTION]...\n"
    "\n"
    "A remote VAE endpoint on this machine: decodes latents and encodes\n"
    "pictures over the HTTP contract of Hugging Face's remote VAE.  It maps\n"
    "latents to colours linearly at 1/8 resolution and enlarges smoothly: a\n"
    "preview, not what the model's own VAE would give.\n"
    "\n"
    "  --listen HOST:PORT   where to listen (127.0.0.1:8378); port 0 takes\n"
    "                       any free one\n"
    "  --parallel N         requests served at the same time (4); the others\n"
    "                       wait in order.  A Hugging Face replica serves 1\n"
    "  --service-ms N       how long a request holds its place at least,\n"
    "                       computing included (0)\n"
    "  --token-file FILE    require \"Authorization: Bearer TOKEN\" with the\n"
    "                       token in FILE, except for / and /health\n"
    "  --token TOKEN        the same, for tests: it is visible in ps\n"
    "  --max-body-mib N     refuse larger requests (256)\n"
    "  --cache-mib N        keep so much of finished replies, so that\n"
    "                       repeated requests need no computing (0: none)\n"
    "  --fps N              frames per second of mp4 (15)\n"
    "  --verbose            log every request\n"
    "  --help, --version    print this, or the version, and exit\n"
    "\n"
    "To try what clients make of a bad endpoint; P is a probability, 0 to 1,\n"
    "drawn for each decode or encode:\n"
    "\n"
    "  --seed N             the same seed and order of requests give the same\n"
    "                       faults (1)\n"
    "  --drop-rate P        reset the connection before or amid the reply\n"
    "  --fail-rate P[:STATUS]\n"
    "                       answer with STATUS (500) at once; may be repeated\n"
    "                       with other statuses\n"
    "  --retry-after S      say Retry-After: S with 429 and 503\n"
    "  --oom-rate P         answer 400 and \"CUDA out of memory\"\n"
    "  --stall-rate P       stop after the reply's headers or half its body\n"
    "  --stall-ms N         for so long (0: until the peer gives up)\n"
    "  --truncate-rate P    close before the reply is whole\n"
    "  --garbage-rate P     noise under the right headers\n"
    "  --wrong-size-rate P  a good reply of another size than asked for\n"
    "  --slow-rate P:FACTOR FACTOR times the service time\n"
    "  --cold-ms N          answer 503 for so long after the start, as while\n"
    "                       scaling up from zero; a request with\n"
    "                       X-Scale-Up-Timeout: SECONDS waits instead\n"
    "  --die-after N        exit without a reply at the Nth request (0: never)\n"
    "  --control            change all that, --parallel and --service-ms while\n"
    "                       it runs: POST /control?NAME=VALUE&..., also cold=1\n"
    "                       (begin --cold-ms again) and down=1 (reset every\n"
    "                       request until down=0).  GET /control: settings and\n"
    "                       counters as JSON.  From this machine only\n"
    "\n"
    "A request has one fault at most, in this order: drop, fail (statuses as\n"
    "first mentioned), oom, stall, truncate, garbage, wrong-size.  Slowness\n"
    "comes beside them.\n"
    "\n"
    "POST /sd-v1 /sdxl /flux /hunyuan-video decode, /encode/MODEL encodes;\n"
    "GET / and /health say Ok, GET /metrics counts for Prometheus.  Prints\n"
    "\"listening on http://HOST:PORT\" when it serves.  SIGTERM and SIGINT\n"
    "stop it after what is under way; a second one does not wait.\n"
    "UV_THREADPOOL_SIZE sets the number of workers (else one per processor).\n"
    "\n"
    "Exit status: 0 stopped, 1 could not start or died on purpose, 2 wrong\n"
    "usage.\n";

const char *
options_usage(void)
{
	return usage;
}

static enum latentd_err
set_listen(struct options *o, const char *value, struct reason *why)
{
	(void)why;
	o->listen = value;
	return LATENTD_OK;
}

static enum latentd_err
set_parallel(struct options *o, const char *value, struct reason *why)
{
	uint64_t n = o->parallel;
	enum latentd_err err =
	    number_read("--parallel", value, 1, 1024, &n, why);

	o->parallel = (unsigned)n;
	return err;
}

static enum latentd_err
set_service_ms(struct options *o, const char *value, struct reason *why)
{
	return number_read(
	    "--service-ms", value, 0, 3600000, &o->service_ms, why);
}

static enum latentd_err
set_max_body(struct options *o, const char *value, struct reason *why)
{
	uint64_t n = o->max_body_bytes / MIB;
	enum latentd_err err = number_read(
	    "--max-body-mib", value, 1, LATENTD_MAX_BODY_BYTES / MIB, &n, why);

	o->max_body_bytes = n * MIB;
	return err;
}

static enum latentd_err
set_cache(struct options *o, const char *value, struct reason *why)
{
	uint64_t n = o->cache_bytes / MIB;
	enum latentd_err err =
	    number_read("--cache-mib", value, 0, 1048576, &n, why);

	o->cache_bytes = (size_t)(n * MIB);
	return err;
}

static enum latentd_err
set_fps(struct options *o, const char *value, struct reason *why)
{
	uint64_t n = o->fps;
	enum latentd_err err = number_read("--fps", value, 1, 240, &n, why);

	o->fps = (unsigned)n;
	return err;
}

/* A token goes into a header: printable ASCII without blanks. */
static enum latentd_err
set_token(struct options *o, const char *value, struct reason *why)
{
	const size_t bytes = strlen(value);
	size_t i;

	if (bytes == 0 || bytes >= sizeof(o->token))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the token has %zu bytes, must have 1 to %zu", bytes,
		    sizeof(o->token) - 1);
	for (i = 0; i < bytes; i++) {
		if (value[i] <= ' ' || value[i] > '~')
			return reason_set(why, LATENTD_ERR_INVALID,
			    "the token has a blank or a byte that is not "
			    "printable ASCII at position %zu",
			    i + 1);
	}
	memcpy(o->token, value, bytes + 1);
	return LATENTD_OK;
}

static enum latentd_err
set_token_file(struct options *o, const char *value, struct reason *why)
{
	char line[OPTIONS_TOKEN_BYTES + 2] = "";
	FILE *file = fopen(value, "re");
	enum latentd_err err;

	if (file == NULL)
		return reason_set(why, LATENTD_ERR_IO,
		    "--token-file %s cannot be read: %s", value,
		    strerror(errno));
	if (fgets(line, sizeof(line), file) == NULL && ferror(file))
		err = reason_set(why, LATENTD_ERR_IO,
		    "--token-file %s cannot be read", value);
	else {
		line[strcspn(line, "\r\n")] = '\0';
		err = set_token(o, line, why);
	}
	fclose(file);
	explicit_bzero(line, sizeof(line));
	return err;
}

static enum latentd_err
set_verbose(struct options *o, const char *value, struct reason *why)
{
	(void)value;
	(void)why;
	o->verbose = true;
	return LATENTD_OK;
}

static enum latentd_err
set_control(struct options *o, const char *value, struct reason *why)
{
	(void)value;
	(void)why;
	o->control = true;
	return LATENTD_OK;
}

static enum latentd_err
set_help(struct options *o, const char *value, struct reason *why)
{
	(void)value;
	(void)why;
	o->help = true;
	return LATENTD_OK;
}

static enum latentd_err
set_version(struct options *o, const char *value, struct reason *why)
{
	(void)value;
	(void)why;
	o->version = true;
	return LATENTD_OK;
}

static const struct option_row {
	const char *name;
	bool has_value;
	/* NULL: faults_set() knows it. */
	enum latentd_err (*set)(
	    struct options *o, const char *value, struct reason *why);
} rows[] = {
    {"--listen", true, set_listen},
    {"--parallel", true, set_parallel},
    {"--service-ms", true, set_service_ms},
    {"--token-file", true, set_token_file},
    {"--token", true, set_token},
    {"--max-body-mib", true, set_max_body},
    {"--cache-mib", true, set_cache},
    {"--fps", true, set_fps},
    {"--seed", true, NULL},
    {"--fail-rate", true, NULL},
    {"--retry-after", true, NULL},
    {"--cold-ms", true, NULL},
    {"--drop-rate", true, NULL},
    {"--truncate-rate", true, NULL},
    {"--garbage-rate", true, NULL},
    {"--wrong-size-rate", true, NULL},
    {"--stall-rate", true, NULL},
    {"--stall-ms", true, NULL},
    {"--slow-rate", true, NULL},
    {"--oom-rate", true, NULL},
    {"--die-after", true, NULL},
    {"--control", false, set_control},
    {"--verbose", false, set_verbose},
    {"--help", false, set_help},
    {"--version", false, set_version},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

static enum latentd_err
refuse_unknown(const char *arg, struct reason *why)
{
	const char *names[ROWS_N], *nearest;
	size_t i;

	for (i = 0; i < ROWS_N; i++)
		names[i] = rows[i].name;
	nearest = nearest_name(arg, names, ROWS_N);
	if (nearest != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "unknown option \"%.64s\": did you mean %s?", arg, nearest);
	return reason_set(
	    why, LATENTD_ERR_INVALID, "unknown option \"%.64s\"", arg);
}

/* The row of "--name" or "--name=value"; NULL when there is none. */
static const struct option_row *
row_find(const char *arg, const char **value)
{
	const size_t bytes = strcspn(arg, "=");
	size_t i;

	for (i = 0; i < ROWS_N; i++) {
		if (strlen(rows[i].name) == bytes &&
		    memcmp(rows[i].name, arg, bytes) == 0) {
			*value = arg[bytes] == '=' ? arg + bytes + 1 : NULL;
			return &rows[i];
		}
	}
	return NULL;
}

enum latentd_err
options_parse(int argc, char **argv, struct options *o, struct reason *why)
{
	const struct option_row *row;
	const char *value;
	enum latentd_err err;
	int i;

	*o = (struct options){
	    .listen = "127.0.0.1:8378",
	    .parallel = 4,
	    .max_body_bytes = 256 * MIB,
	    .fps = 15,
	};
	faults_init(&o->faults);
	for (i = 1; i < argc; i++) {
		row = row_find(argv[i], &value);
		if (row == NULL)
			return refuse_unknown(argv[i], why);
		if (!row->has_value && value != NULL)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "%s takes no value", row->name);
		if (row->has_value && value == NULL && ++i == argc)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "%s needs a value", row->name);
		if (row->has_value && value == NULL)
			value = argv[i];
		err = row->set != NULL
		    ? row->set(o, value, why)
		    : faults_set(&o->faults, row->name, value, why);
		if (err != LATENTD_OK)
			return err;
	}
	return LATENTD_OK;
}
