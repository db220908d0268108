/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A visit is one connection to our own socket, on the loop; the knock holds the
 * one that is on its way.  It ends after both sides have sent their eight
 * bytes: a peer that leaves earlier ends the listener of an nng before 1.6
 * (nng_1518.c), so a visit that fails is one that nng would not have survived
 * from a producer either.
 */
#include "base/knock.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GREETING_BYTES 8u

/* What REQ sends, and what REP answers. */
static const char ours[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const char theirs[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

struct visit {
	uv_pipe_t pipe;
	uv_connect_t connect;
	struct knock *knock; /* NULL: nobody wants to know any more */
	char in[GREETING_BYTES];
	size_t in_bytes;
};

struct knock {
	uv_loop_t *loop;
	struct knock_options options;
	struct visit *visit;
	char path[];
};

struct knock *
knock_open(uv_loop_t *loop, const struct knock_options *options)
{
	size_t bytes = strlen(options->path) + 1;
	struct knock *k = calloc(1, sizeof(*k) + bytes);

	if (k == NULL)
		return NULL;
	k->loop = loop;
	k->options = *options;
	memcpy(k->path, options->path, bytes);
	k->options.path = k->path;
	return k;
}

static void
on_closed(uv_handle_t *pipe)
{
	free(pipe->data);
}

/* Let a visit go; whoever waits for it hears nothing more. */
static void
leave(struct visit *v)
{
	if (v->knock != NULL)
		v->knock->visit = NULL;
	v->knock = NULL;
	if (!uv_is_closing((uv_handle_t *)&v->pipe))
		uv_close((uv_handle_t *)&v->pipe, on_closed);
}

static void
end(struct visit *v, const char *why)
{
	struct knock *k = v->knock;

	leave(v);
	if (k != NULL)
		k->options.on_answer(why, k->options.arg);
}

void
knock_close(struct knock *k)
{
	if (k == NULL)
		return;
	if (k->visit != NULL)
		leave(k->visit);
	free(k);
}

static void
on_alloc(uv_handle_t *pipe, size_t bytes, uv_buf_t *buf)
{
	struct visit *v = pipe->data;

	(void)bytes;
	*buf = uv_buf_init(
	    v->in + v->in_bytes, (unsigned)(GREETING_BYTES - v->in_bytes));
}

static void
on_read(uv_stream_t *pipe, ssize_t n, const uv_buf_t *buf)
{
	struct visit *v = pipe->data;

	(void)buf;
	if (n < 0) {
		end(v, "the connection ends before a greeting");
		return;
	}
	v->in_bytes += (size_t)n;
	if (v->in_bytes < GREETING_BYTES)
		return;
	end(v,
	    memcmp(v->in, theirs, GREETING_BYTES) == 0
		? NULL
		: "somebody else answers");
}

static void
on_connected(uv_connect_t *connect, int status)
{
	struct visit *v = connect->data;
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)ours, sizeof(ours));

	if (status != 0) {
		end(v, uv_strerror(status));
		return;
	}
	/* A socket that is new has room for them. */
	if (uv_try_write((uv_stream_t *)&v->pipe, &buf, 1) !=
		(int)sizeof(ours) ||
	    uv_read_start((uv_stream_t *)&v->pipe, on_alloc, on_read) != 0)
		end(v, "it takes no greeting");
}

void
knock_start(struct knock *k)
{
	struct visit *v;

	if (k->visit != NULL) {
		end(k->visit, "no answer");
		return;
	}
	if ((v = calloc(1, sizeof(*v))) == NULL) {
		k->options.on_answer("out of memory", k->options.arg);
		return;
	}
	uv_pipe_init(k->loop, &v->pipe, 0);
	v->pipe.data = v->connect.data = v;
	v->knock = k;
	k->visit = v;
	/* Fails, if it does, in the callback. */
	uv_pipe_connect(&v->connect, &v->pipe, k->path, on_connected);
}
