/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inih reads the lines; the tables below say which keys exist and how each is
 * read, so that an unknown key can be answered with the nearest known one.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "config_value.h"
#include "nearest.h"

struct reading {
	const char *path;
	FILE *file;
	struct config *config;
	unsigned line; /* the one being read */
	char section[128]; /* the present one; "": none yet */
	unsigned empty_line; /* of a section without keys so far; 0: none */
	bool had[3]; /* [daemon], [queue], [spool] */
	unsigned spool_line; /* where the last begins */
	unsigned http_line; /* where "http" stands */
	unsigned listen_lines[CONFIG_LISTEN_MAX + 1];
	unsigned events_line;
	uint64_t seen; /* keys of the present section, by index */
	struct reason *why;
	bool failed;
};

struct key {
	const char *name;
	enum latentd_err (*read)(struct config *config,
	    struct config_endpoint *ep, const char *value, struct reason *why);
	bool repeats;
};

static const struct key daemon_keys[] = {
    {"listen", config_value_listen, true},
    {"events", config_value_events, false},
    {"events_listen", config_value_events_listen, false},
    {"http", config_value_http, false},
    {"http_token_file", config_value_http_token_file, false},
    {"http_deadline_s", config_value_http_deadline_s, false},
    {"insecure", config_value_insecure, false},
    {"drain_s", config_value_drain_s, false},
    {"log_level", config_value_log_level, false},
    {"log_format", config_value_log_format, false},
    {"sandbox", config_value_sandbox, false},
    {"tls_certificate", config_value_tls_certificate, false},
    {"tls_key", config_value_tls_key, false},
    {"tls_client_ca", config_value_tls_client_ca, false},
    {"user_connections", config_value_user_connections, false},
};
static const struct key queue_keys[] = {
    {"jobs", config_value_jobs, false},
    {"bytes", config_value_bytes, false},
    {"keep_s", config_value_keep_s, false},
    {"bury_s", config_value_bury_s, false},
    {"remember_s", config_value_remember_s, false},
    {"age_s", config_value_age_s, false},
    {"attempts", config_value_attempts, false},
    {"hedge_percent", config_value_hedge_percent, false},
    {"producer_jobs", config_value_producer_jobs, false},
    {"producer_bytes", config_value_producer_bytes, false},
    {"user_jobs", config_value_user_jobs, false},
    {"user_bytes", config_value_user_bytes, false},
};
static const struct key spool_keys[] = {
    {"path", config_value_spool_path, false},
    {"size", config_value_spool_size, false},
    {"durability", config_value_spool_durability, false},
};
static const struct key producer_keys[] = {
    {"weight", config_value_own_weight, false},
    {"jobs", config_value_own_jobs, false},
    {"bytes", config_value_own_bytes, false},
    {"secret_file", config_value_own_secret_file, false},
};
static const struct key endpoint_keys[] = {
    {"model", config_value_model, false},
    {"task", config_value_task, false},
    {"url", config_value_url, false},
    {"parallel", config_value_parallel, false},
    {"weight", config_value_weight, false},
    {"backup", config_value_backup, false},
    {"health", config_value_health, false},
    {"connect_s", config_value_connect_s, false},
    {"stall_s", config_value_stall_s, false},
    {"think_s", config_value_think_s, false},
    {"total_s", config_value_total_s, false},
    {"scale_up_s", config_value_scale_up_s, false},
    {"token_file", config_value_token_file, false},
};

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Put file and line, but of an empty file, before the sentence in ${what}. */
static void
fail_at(struct reading *r, unsigned line, const struct reason *what)
{
	r->failed = true;
	if (line == 0)
		reason_set(r->why, what->err, "%s: %s", r->path, what->text);
	else
		reason_set(
		    r->why, what->err, "%s:%u: %s", r->path, line, what->text);
}

static void
fail_nearest(struct reading *r, const char *kind, const char *name,
    const char *const *known, size_t known_n)
{
	struct reason what;
	const char *nearest = nearest_name(name, known, known_n);

	reason_set(&what, LATENTD_ERR_INVALID, "there is no %s \"%s\"%s%s%s",
	    kind, name, nearest != NULL ? "; did you mean \"" : "",
	    nearest != NULL ? nearest : "", nearest != NULL ? "\"?" : "");
	fail_at(r, r->line, &what);
}

static const struct key *
keys_of(const char *section, size_t *n)
{
	if (strcmp(section, "daemon") == 0) {
		*n = N(daemon_keys);
		return daemon_keys;
	}
	if (strcmp(section, "queue") == 0) {
		*n = N(queue_keys);
		return queue_keys;
	}
	if (strcmp(section, "spool") == 0) {
		*n = N(spool_keys);
		return spool_keys;
	}
	if (strncmp(section, "producer ", 9) == 0) {
		*n = N(producer_keys);
		return producer_keys;
	}
	if (strncmp(section, "endpoint ", 9) == 0) {
		*n = N(endpoint_keys);
		return endpoint_keys;
	}
	return NULL;
}

static bool
check_name(struct reading *r, const char *kind, const char *name)
{
	struct reason what;

	if (message_is_name(name, strlen(name)))
		return true;
	reason_set(&what, LATENTD_ERR_INVALID,
	    "%s name \"%s\" must be 1 to %u of A-Z a-z 0-9 . _ -", kind, name,
	    LATENTD_MAX_NAME_BYTES);
	fail_at(r, r->line, &what);
	return false;
}

static void
begin_producer(struct reading *r, const char *name)
{
	struct config *c = r->config;
	struct producer_rule *more;
	struct reason what = {.err = LATENTD_OK};

	if (!check_name(r, "producer", name))
		return;
	for (size_t i = 0; i < c->producers_n; i++) {
		if (strcmp(c->producers[i].name, name) == 0)
			reason_set(&what, LATENTD_ERR_INVALID,
			    "section [producer %s] appears twice", name);
	}
	/* All at once: moving them would leave secrets behind. */
	if (c->producers == NULL)
		c->producers = calloc(CONFIG_PRODUCERS_MAX, sizeof(*more));
	more = c->producers;
	if (more == NULL || c->producers_n == CONFIG_PRODUCERS_MAX)
		reason_set(&what, LATENTD_ERR_INVALID, "more than %u producers",
		    CONFIG_PRODUCERS_MAX);
	if (what.err != LATENTD_OK) {
		fail_at(r, r->line, &what);
		return;
	}
	more += c->producers_n++;
	memset(more, 0, sizeof(*more));
	snprintf(more->name, sizeof(more->name), "%s", name);
}

static void
begin_endpoint(struct reading *r, const char *name)
{
	struct config *c = r->config;
	struct config_endpoint *more;
	struct reason what;

	if (!check_name(r, "endpoint", name))
		return;
	for (size_t i = 0; i < c->endpoints_n; i++) {
		if (strcmp(c->endpoints[i].name, name) != 0)
			continue;
		reason_set(&what, LATENTD_ERR_INVALID,
		    "endpoint \"%s\" stands "
		    "in line %u already",
		    name, c->endpoints[i].line);
		fail_at(r, r->line, &what);
		return;
	}
	more = c->endpoints_n < CONFIG_ENDPOINTS_MAX
	    ? reallocarray(c->endpoints, c->endpoints_n + 1, sizeof(*more))
	    : NULL;
	if (more == NULL) {
		reason_set(&what, LATENTD_ERR_INVALID, "more than %u endpoints",
		    CONFIG_ENDPOINTS_MAX);
		fail_at(r, r->line, &what);
		return;
	}
	c->endpoints = more;
	more += c->endpoints_n++;
	memset(more, 0, sizeof(*more));
	snprintf(more->name, sizeof(more->name), "%s", name);
	more->weight = 1;
	more->times = (struct config_times){
	    .connect_s = 10, .stall_s = 60, .think_s = 600, .total_s = 1800};
	more->line = r->line;
}

static void
begin_section(struct reading *r, const char *section)
{
	static const char *const sections[] = {
	    "daemon", "queue", "spool", "producer NAME", "endpoint NAME"};
	struct reason what;
	size_t n, which;

	r->empty_line = r->line;
	r->seen = 0;
	if (keys_of(section, &n) == NULL) {
		fail_nearest(r, "section", section, sections, N(sections));
		return;
	}
	if (strncmp(section, "endpoint ", 9) == 0) {
		begin_endpoint(r, section + 9);
		return;
	}
	if (strncmp(section, "producer ", 9) == 0) {
		begin_producer(r, section + 9);
		return;
	}
	which = section[0] == 's' ? 2 : section[0] == 'q';
	if (which == 2)
		r->spool_line = r->line;
	if (r->had[which]) {
		reason_set(&what, LATENTD_ERR_INVALID,
		    "section [%s] appears twice", section);
		fail_at(r, r->line, &what);
	}
	r->had[which] = true;
}

static void
read_key(struct reading *r, const char *name, const char *value)
{
	const char *known[N(daemon_keys) + N(queue_keys) + N(endpoint_keys)];
	struct config *c = r->config;
	struct reason what;
	size_t n = 0, i;
	const struct key *keys = keys_of(r->section, &n);
	enum latentd_err err;

	for (i = 0; i < n && strcmp(keys[i].name, name) != 0; i++)
		known[i] = keys[i].name;
	if (i == n) {
		fail_nearest(r, "key", name, known, n);
		return;
	}
	if ((r->seen & UINT64_C(1) << i) != 0 && !keys[i].repeats) {
		reason_set(&what, LATENTD_ERR_INVALID,
		    "key \"%s\" appears twice in [%s]", name, r->section);
		fail_at(r, r->line, &what);
		return;
	}
	r->seen |= UINT64_C(1) << i;
	if (keys[i].read == config_value_http)
		r->http_line = r->line;
	if (keys[i].read == config_value_listen)
		r->listen_lines[c->listen_n] = r->line;
	if (keys[i].read == config_value_events_listen)
		r->events_line = r->line;
	err = keys[i].read(c,
	    c->endpoints_n > 0 ? &c->endpoints[c->endpoints_n - 1] : NULL,
	    value, &what);
	if (err != LATENTD_OK)
		fail_at(r, r->line, &what);
}

/* inih: one line, without its number, which on_line() counts. */
static int
on_key(void *arg, const char *section, const char *name, const char *value)
{
	struct reading *r = arg;
	struct reason what;

	(void)section;
	if (r->failed)
		return 0;
	r->empty_line = 0;
	if (r->section[0] != '\0') {
		read_key(r, name, value);
	} else {
		reason_set(&what, LATENTD_ERR_INVALID,
		    "key \"%s\" stands before any [section]", name);
		fail_at(r, r->line, &what);
	}
	return r->failed ? 0 : 1;
}

static void
check_not_empty(struct reading *r)
{
	struct reason what;

	if (r->empty_line == 0 || r->failed)
		return;
	reason_set(&what, LATENTD_ERR_INVALID, "this section has no keys");
	fail_at(r, r->empty_line, &what);
}

/* inih cuts names of sections to 49 bytes, drops what stands behind them and
 * does not tell of those without keys; a line does. */
static void
on_section(struct reading *r, const char *line)
{
	size_t n = strcspn(line + 1, "]");
	const char *behind = line + 1 + n;
	struct reason what;

	check_not_empty(r);
	if (r->failed)
		return;
	if (*behind == ']')
		behind += 1 + strspn(behind + 1, " \t\r\n");
	if (line[1 + n] != ']' || strchr(";#", *behind) == NULL) {
		reason_set(&what, LATENTD_ERR_INVALID,
		    "a section must be \"[name]\", alone in its line");
		fail_at(r, r->line, &what);
		return;
	}
	snprintf(r->section, sizeof(r->section), "%.*s", (int)n, line + 1);
	begin_section(r, r->section);
}

static char *
on_line(char *buf, int size, void *arg)
{
	struct reading *r = arg;
	size_t skip = 0;

	if (r->failed || fgets(buf, size, r->file) == NULL)
		return NULL;
	r->line++;
	if (strchr(buf, '\n') == NULL && !feof(r->file)) {
		struct reason what;

		reason_set(&what, LATENTD_ERR_INVALID,
		    "line longer than %d bytes, or a NUL byte in it", size - 2);
		fail_at(r, r->line, &what);
		return NULL;
	}
	if (r->line == 1 && strncmp(buf, "\xef\xbb\xbf", 3) == 0)
		skip = 3;
	/* Indented, inih would take it for more of the key before. */
	skip += strspn(buf + skip, " \t");
	memmove(buf, buf + skip, strlen(buf + skip) + 1);
	if (buf[0] == '[')
		on_section(r, buf);
	return r->failed ? NULL : buf;
}

/* Where to say so, if what it listens on is not guarded; 0: it is. */
static unsigned
check_listen(const struct reading *r, struct reason *what)
{
	const struct config *c = r->config;
	size_t which;

	if (config_value_listen_guard(c, &which, what) == LATENTD_OK)
		return 0;
	return which < c->listen_n ? r->listen_lines[which]
	    : which == c->listen_n ? r->events_line
				   : r->line;
}

/* What only the whole shows. */
static void
check_whole(struct reading *r)
{
	struct config *c = r->config;
	struct reason what = {.err = LATENTD_OK};
	unsigned line = 0;

	if (c->endpoints_n == 0)
		reason_set(&what, LATENTD_ERR_INVALID,
		    "no [endpoint NAME] "
		    "section: without one there is nothing to send jobs to");
	for (size_t i = 0; i < c->endpoints_n && what.err == 0; i++) {
		const struct config_endpoint *ep = &c->endpoints[i];
		const char *missing = ep->model == NULL ? "model"
		    : !ep->has_task                     ? "task"
		    : ep->url[0] == '\0'                ? "url"
							: NULL;

		line = ep->line;
		if (missing != NULL)
			reason_set(&what, LATENTD_ERR_INVALID,
			    "[endpoint %s] has no \"%s\"", ep->name, missing);
	}
	if (what.err == LATENTD_OK &&
	    config_value_http_guard(c, &what) != LATENTD_OK)
		line = r->http_line;
	if (what.err == LATENTD_OK)
		line = check_listen(r, &what);
	if (what.err == LATENTD_OK &&
	    config_value_spool(c, &what) != LATENTD_OK)
		line = r->spool_line;
	if (what.err == LATENTD_OK) {
		line = 0;
		config_value_defaults(c, &what);
	}
	if (what.err != LATENTD_OK)
		fail_at(r, line > 0 ? line : r->line, &what);
}

enum latentd_err
config_read(const char *path, struct config **config, struct reason *why)
{
	struct reading r = {.path = path, .why = why};
	int bad_line;

	*config = NULL;
	if ((r.file = fopen(path, "re")) == NULL)
		return reason_set(why, LATENTD_ERR_IO, "cannot read %s: %s",
		    path, strerror(errno));
	if ((r.config = calloc(1, sizeof(*r.config))) == NULL) {
		fclose(r.file);
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	}
	snprintf(r.config->path, sizeof(r.config->path), "%s", path);
	config_value_initial(r.config);
	bad_line = ini_parse_stream(on_line, &r, on_key, &r);
	if (!r.failed && (bad_line != 0 || ferror(r.file))) {
		struct reason what;

		reason_set(&what, LATENTD_ERR_INVALID,
		    "neither a [section] nor \"key = value\" nor a comment");
		fail_at(&r, bad_line > 0 ? (unsigned)bad_line : r.line, &what);
	}
	check_not_empty(&r);
	if (!r.failed)
		check_whole(&r);
	fclose(r.file);
	if (r.failed) {
		config_destroy(r.config);
		return why->err;
	}
	*config = r.config;
	return LATENTD_OK;
}

void
config_destroy(struct config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->endpoints_n; i++) {
		char *token = c->endpoints[i].token;

		if (token != NULL)
			explicit_bzero(token, strlen(token));
		free(token);
	}
	if (c->http_token != NULL)
		explicit_bzero(c->http_token, strlen(c->http_token));
	free(c->http_token);
	config_value_wipe(c);
	free(c->producers);
	free(c->endpoints);
	free(c);
}
