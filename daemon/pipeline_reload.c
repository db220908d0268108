/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the endpoints' token files again, on a worker, and takes over what
 * could be read; on the loop thread.  Endpoints that were stopped, for their
 * token or what else was wrong there, get a trial.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config_value.h"
#include "pipeline_private.h"

struct token {
	char path[CONFIG_PATH_BYTES];
	char *text; /* as read; NULL: could not be */
	struct reason why;
};

struct reload {
	uv_work_t work;
	struct pipeline *pipeline;
	size_t n; /* endpoints, in the order of the configuration */
	struct token tokens[];
};

static void
on_read(uv_work_t *work)
{
	struct reload *r = work->data;
	char path[CONFIG_PATH_BYTES];

	for (size_t i = 0; i < r->n; i++) {
		struct token *t = &r->tokens[i];

		if (t->path[0] != '\0' &&
		    config_read_token("token_file", t->path, path, &t->text,
			&t->why) != LATENTD_OK) {
			free(t->text);
			t->text = NULL;
		}
	}
}

static void
take_over(struct endpoint *ep, struct token *t)
{
	if (t->path[0] != '\0' && t->text == NULL)
		log_error("endpoint=%s keeps its old token: %s", ep->name,
		    t->why.text);
	else if (t->text != NULL && !endpoint_set_token(ep, t->text))
		log_error(
		    "endpoint=%s keeps its old token: out of memory", ep->name);
	endpoint_resume(ep);
	if (t->text != NULL)
		explicit_bzero(t->text, strlen(t->text));
	free(t->text);
}

static void
on_was_read(uv_work_t *work, int status)
{
	struct reload *r = work->data;
	struct pipeline *p = r->pipeline;

	(void)status;
	for (size_t i = 0; i < r->n; i++)
		take_over(dispatch_endpoint(p->dispatch, i), &r->tokens[i]);
	log_info("tokens of %zu endpoints read again", r->n);
	free(r);
	p->reloading = false;
	dispatch_kick(p->dispatch);
	if (p->closing)
		pipeline_close_soon(p);
}

void
pipeline_reload(struct pipeline *p)
{
	size_t n = p->config->endpoints_n;
	struct reload *r;

	if (p->reloading || p->closing)
		return;
	r = calloc(1, sizeof(*r) + n * sizeof(r->tokens[0]));
	if (r == NULL) {
		log_error("no memory to read tokens again");
		return;
	}
	r->pipeline = p;
	r->n = n;
	r->work.data = r;
	for (size_t i = 0; i < n; i++)
		memcpy(r->tokens[i].path, p->config->endpoints[i].token_file,
		    sizeof(r->tokens[i].path));
	p->reloading = true;
	if (uv_queue_work(p->loop, &r->work, on_read, on_was_read) != 0)
		abort();
}
