/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the configuration to the paths of the sandbox.  Directories, not files:
 * a file that is replaced, as editors and configuration tools do it, is another
 * one, and a reload must find it.
 */
#include "confine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "config_value.h"

#define READ_MAX (CONFIG_ENDPOINTS_MAX + CONFIG_PRODUCERS_MAX + 8u)
#define WRITE_MAX (CONFIG_LISTEN_MAX + 3u)

struct paths {
	char *read[READ_MAX];
	size_t read_n;
	char *write[WRITE_MAX];
	size_t write_n;
};

/* Add the directory that ${file} is in, unless it is there already. */
static void
add_directory(char **paths, size_t *n, size_t max, const char *file)
{
	const char *slash = strrchr(file, '/');
	char *directory;

	if (file[0] == '\0' || *n == max)
		return;
	if (slash == NULL)
		directory = strdup(".");
	else
		directory =
		    strndup(file, slash == file ? 1 : (size_t)(slash - file));
	for (size_t i = 0; directory != NULL && i < *n; i++) {
		if (strcmp(paths[i], directory) == 0) {
			free(directory);
			return;
		}
	}
	if (directory != NULL)
		paths[(*n)++] = directory;
}

static void
add_read(struct paths *p, const char *value)
{
	char file[CONFIG_PATH_BYTES];
	struct reason why;

	if (config_resolve_path("", value, file, &why) == LATENTD_OK)
		add_directory(p->read, &p->read_n, READ_MAX, file);
}

static void
add_socket(struct paths *p, const char *url)
{
	if (strncmp(url, "ipc://", 6) == 0)
		add_directory(p->write, &p->write_n, WRITE_MAX, url + 6);
}

/* The spool's directory; until it has been used, the one that it is in: to make
 * it there, and to see that on disk. */
static void
add_spool(struct paths *p, const char *path)
{
	char file[CONFIG_PATH_BYTES + 16];

	snprintf(file, sizeof(file), "%s/data.mdb", path);
	if (path[0] == '\0')
		return;
	add_directory(p->write, &p->write_n, WRITE_MAX,
	    access(file, F_OK) == 0 ? file : path);
}

static void
collect(struct paths *p, const struct config *config, const char *path)
{
	add_directory(p->read, &p->read_n, READ_MAX, path);
	add_read(p, config->http_token_file);
	add_read(p, config->tls_certificate.path);
	add_read(p, config->tls_key.path);
	add_read(p, config->tls_client_ca.path);
	for (size_t i = 0; i < config->producers_n; i++) {
		if (config->producers[i].secret_file != NULL)
			add_read(p, config->producers[i].secret_file);
	}
	for (size_t i = 0; i < config->endpoints_n; i++)
		add_read(p, config->endpoints[i].token_file);
	for (size_t i = 0; i < config->listen_n; i++)
		add_socket(p, config->listen[i]);
	add_socket(p, config->events_listen);
	add_spool(p, config->spool_path);
}

void
confine(const struct config *config, const char *path)
{
	struct paths paths = {.read_n = 0};
	struct sandbox sandbox;
	struct reason what;

	if (!config->sandbox)
		return;
	collect(&paths, config, path);
	sandbox = (struct sandbox){.read = (const char *const *)paths.read,
	    .read_n = paths.read_n,
	    .write = (const char *const *)paths.write,
	    .write_n = paths.write_n};
	if (sandbox_enter(&sandbox, &what))
		log_info("sandbox: %s", what.text);
	else
		log_info("no sandbox: %s", what.text);
	while (paths.read_n > 0)
		free(paths.read[--paths.read_n]);
	while (paths.write_n > 0)
		free(paths.write[--paths.write_n]);
}
