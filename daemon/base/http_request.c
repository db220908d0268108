/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One struct http_request lives from a request's headers to MHD's "completed"
 * callback, which comes when the reply has left or the connection is gone.  In
 * between: collecting (the body arrives), delivered (the owner has it),
 * answered.  A delivered request's connection is suspended in MHD until it is
 * answered, so the body stays where it is and MHD reads nothing further.
 *
 * Everything runs on the loop thread.
 */
#include <assert.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/http_private.h"

/* First buffer of a body of unknown length. */
#define CHUNKED_FIRST_BYTES (UINT64_C(64) * 1024)
/* How much of a refused body is read and dropped to get the reply across. */
#define DRAIN_BYTES (UINT64_C(64) * 1024 * 1024)

static const char memory_text[] =
    "{\"error\": \"not enough memory for this request; try again later\"}";

static const char framing_text[] =
    "{\"error\": \"Content-Length is given twice or beside Transfer-Encoding, "
    "must be given once or not at all\"}";

static void
free_nothing(void *arg)
{
	(void)arg;
}

static struct MHD_Response *
response_make(struct http_request *r, const char *const *headers,
    size_t headers_n, const void *body, size_t body_bytes,
    void (*free_body)(void *), void *free_arg)
{
	struct MHD_Response *response;
	size_t i;

	if (r->break_how != HTTP_BREAK_NONE)
		response = http_break_response(
		    r, body, body_bytes, free_body, free_arg);
	else
		/* MHD only reads the body, but its prototype lacks the
		 * const. */
		response =
		    MHD_create_response_from_buffer_with_free_callback_cls(
			body_bytes, (void *)(uintptr_t)body,
			free_body != NULL ? free_body : free_nothing, free_arg);
	if (response == NULL) {
		if (free_body != NULL)
			free_body(free_arg);
		return NULL;
	}
	for (i = 0; i < headers_n; i++)
		MHD_add_response_header(
		    response, headers[2 * i], headers[2 * i + 1]);
	if (r->server->draining)
		MHD_add_response_header(response, "Connection", "close");
	return response;
}

static enum MHD_Result
response_queue(
    struct http_request *r, unsigned status, struct MHD_Response *response)
{
	enum MHD_Result queued;

	if (response == NULL)
		return MHD_NO;
	queued = MHD_queue_response(r->connection, status, response);
	MHD_destroy_response(response);
	return queued;
}

/* Answer with one of this file's own errors; only from MHD's handler. */
static void
refuse(struct http_request *r, unsigned status)
{
	static const char *const headers[] = {
	    "Content-Type", "application/json", "Retry-After", "1"};
	const bool later = status == MHD_HTTP_SERVICE_UNAVAILABLE;
	const char *text = later                   ? memory_text
	    : status == MHD_HTTP_CONTENT_TOO_LARGE ? r->server->too_large
						   : framing_text;

	r->in_handler = true;
	http_reply(
	    r, status, headers, later ? 2 : 1, text, strlen(text), NULL, NULL);
	r->in_handler = false;
}

/* Queue the response that was made inside a callback. */
static enum MHD_Result
respond(struct http_request *r)
{
	struct MHD_Response *response = r->response;

	r->response = NULL;
	return response_queue(r, r->status, response);
}

static void
body_free(struct http_request *r)
{
	free(r->body);
	r->body = NULL;
	r->body_bytes = 0;
	r->body_size = 0;
}

void
http_request_resume(struct http_request *r)
{
	assert(r->suspended);
	r->suspended = false;
	MHD_resume_connection(r->connection);
}

void
http_reply(struct http_request *r, unsigned status, const char *const *headers,
    size_t headers_n, const void *body, size_t body_bytes,
    void (*free_body)(void *), void *free_arg)
{
	struct MHD_Response *response;

	assert(r->magic == HTTP_REQUEST_MAGIC);
	assert((r->delivered || r->in_handler) && !r->answered);
	r->answered = true;
	body_free(r);
	response = response_make(
	    r, headers, headers_n, body, body_bytes, free_body, free_arg);
	if (r->in_handler) {
		r->status = status;
		r->response = response;
		return;
	}
	http_exchange_begin(r->connection);
	/* When this fails, the handler is called again and closes. */
	response_queue(r, status, response);
	http_request_resume(r);
	http_server_run_soon(r->server);
}

/* The body's length as announced; false when it is chunked or none. */
static bool
body_announced(struct MHD_Connection *connection, uint64_t *bytes)
{
	const char *text = MHD_lookup_connection_value(
	    connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	if (text == NULL || !isdigit((unsigned char)text[0]))
		return false;
	*bytes = strtoull(text, NULL, 10);
	return true;
}

static enum MHD_Result
on_framing(
    void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	unsigned *lengths_n = cls;

	(void)kind;
	(void)value;
	if (strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
		*lengths_n += 1;
	return MHD_YES;
}

/* Whether a proxy before us may have seen another end of the body than MHD
 * sees, so that what one client sends becomes two requests (RFC 9112 §6.3). */
static bool
is_framing_doubtful(struct MHD_Connection *connection)
{
	unsigned lengths_n = 0;

	MHD_get_connection_values(
	    connection, MHD_HEADER_KIND, on_framing, &lengths_n);
	return lengths_n > 1 ||
	    (lengths_n == 1 &&
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
		    MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL);
}

/* Make room for ${size} bytes of body, or refuse the request. */
static void
body_reserve(struct http_request *r, size_t size)
{
	const struct http_options *o = &r->server->options;
	unsigned char *body;
	bool may = true;

	if (o->on_hold != NULL) {
		r->in_handler = true;
		may = o->on_hold(r, size - r->body_size, o->arg);
		r->in_handler = false;
	}
	assert(may || r->answered);
	if (!may)
		return;
	if ((body = realloc(r->body, size)) == NULL) {
		refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE);
		return;
	}
	r->body = body;
	r->body_size = size;
}

static struct http_request *
request_create(struct http_server *server, struct MHD_Connection *connection,
    const char *path, const char *method)
{
	struct http_request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->magic = HTTP_REQUEST_MAGIC;
	r->server = server;
	r->connection = connection;
	r->method = method;
	r->path = path;
	TAILQ_INSERT_TAIL(&server->requests, r, link);
	return r;
}

/* Whether what a refused client sends would not be read to its end anyway, or
 * it has not begun to send. */
static bool
is_drained_in_vain(const struct http_request *r, uint64_t bytes)
{
	const uint64_t max = r->server->options.max_body_bytes;

	return (bytes > max && bytes - max > DRAIN_BYTES) ||
	    MHD_lookup_connection_value(
		r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) != NULL;
}

static enum MHD_Result
request_begin(struct http_server *server, struct MHD_Connection *connection,
    const char *path, const char *method, void **con_cls)
{
	const struct http_options *o = &server->options;
	struct http_request *r =
	    request_create(server, connection, path, method);
	uint64_t bytes = 0;
	bool announced;

	if (r == NULL)
		return MHD_NO;
	*con_cls = r;
	if (is_framing_doubtful(connection)) {
		/* Answered before the body, so that MHD closes behind it. */
		refuse(r, MHD_HTTP_BAD_REQUEST);
		return respond(r);
	}
	if (o->on_headers != NULL) {
		r->in_handler = true;
		o->on_headers(r, o->arg);
		r->in_handler = false;
	}
	announced = body_announced(connection, &bytes);
	if (!r->answered && bytes > o->max_body_bytes)
		refuse(r, MHD_HTTP_CONTENT_TOO_LARGE);
	if (!r->answered && bytes > 0)
		body_reserve(r, (size_t)bytes);
	if (r->answered && announced && bytes > 0 &&
	    is_drained_in_vain(r, bytes))
		return respond(r);
	return r->dropped ? MHD_NO : MHD_YES;
}

/* Make room for ${more} bytes of a body of unknown length, or refuse it. */
static void
body_grow(struct http_request *r, size_t more)
{
	const uint64_t max = r->server->options.max_body_bytes;
	const uint64_t needed = (uint64_t)r->body_bytes + more;
	uint64_t size = r->body_size;

	if (needed <= size)
		return;
	if (needed > max) {
		refuse(r, MHD_HTTP_CONTENT_TOO_LARGE);
		return;
	}
	if (size == 0)
		size = CHUNKED_FIRST_BYTES;
	while (size < needed)
		size *= 2;
	body_reserve(r, (size_t)(size < max ? size : max));
}

static enum MHD_Result
request_collect(struct http_request *r, const char *data, size_t *bytes)
{
	if (!r->answered)
		body_grow(r, *bytes);
	if (r->dropped)
		return MHD_NO;
	if (!r->answered) {
		memcpy(r->body + r->body_bytes, data, *bytes);
		r->body_bytes += *bytes;
	} else {
		r->dropped_bytes += *bytes;
		if (r->dropped_bytes >
		    r->server->options.max_body_bytes + DRAIN_BYTES)
			return MHD_NO;
	}
	*bytes = 0;
	return MHD_YES;
}

static enum MHD_Result
request_complete(struct http_request *r)
{
	struct http_server *server = r->server;

	/* Called again: resumed without a response, so there is none. */
	if (r->delivered || server->closing)
		return MHD_NO;
	if (!r->answered) {
		r->delivered = true;
		r->in_handler = true;
		server->options.on_request(r, server->options.arg);
		r->in_handler = false;
	}
	if (!r->answered) {
		r->suspended = true;
		MHD_suspend_connection(r->connection);
		http_exchange_wait(r->connection, r);
		return MHD_YES;
	}
	http_exchange_begin(r->connection);
	return respond(r);
}

enum MHD_Result
http_request_on_access(void *cls, struct MHD_Connection *connection,
    const char *url, const char *method, const char *version,
    const char *upload_data, size_t *upload_bytes, void **con_cls)
{
	struct http_server *server = cls;
	struct http_request *r = *con_cls;

	assert(server->magic == HTTP_SERVER_MAGIC);
	(void)version;
	if (r == NULL)
		return request_begin(server, connection, url, method, con_cls);
	assert(r->magic == HTTP_REQUEST_MAGIC);
	if (*upload_bytes > 0)
		return request_collect(r, upload_data, upload_bytes);
	return request_complete(r);
}

void
http_request_on_completed(void *cls, struct MHD_Connection *connection,
    void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct http_server *server = cls;
	struct http_request *r = *con_cls;

	if (r == NULL)
		return;
	assert(r->magic == HTTP_REQUEST_MAGIC);
	*con_cls = NULL;
	/* The time for the next request begins. */
	http_exchange_begin(connection);
	if (r->delivered && !r->answered && server->options.on_gone != NULL)
		server->options.on_gone(r, server->options.arg);
	if (r->user != NULL && server->options.on_end != NULL)
		server->options.on_end(r->user,
		    why == MHD_REQUEST_TERMINATED_COMPLETED_OK,
		    server->options.arg);
	if (r->response != NULL)
		MHD_destroy_response(r->response);
	http_break_forget(r);
	TAILQ_REMOVE(&server->requests, r, link);
	free(r->body);
	r->magic = 0;
	free(r);
}

const char *
http_method(const struct http_request *r)
{
	return r->method;
}

const char *
http_path(const struct http_request *r)
{
	return r->path;
}

const char *
http_header(const struct http_request *r, const char *name)
{
	return MHD_lookup_connection_value(
	    r->connection, MHD_HEADER_KIND, name);
}

const void *
http_body(const struct http_request *r, size_t *bytes)
{
	*bytes = r->body_bytes;
	return r->body;
}

void
http_body_free(struct http_request *r)
{
	body_free(r);
}

void
http_set_user(struct http_request *r, void *user)
{
	r->user = user;
}

void *
http_user(const struct http_request *r)
{
	return r->user;
}

bool
http_is_local(const struct http_request *r)
{
	const struct sockaddr *peer = MHD_get_connection_info(
	    r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
					  ->client_addr;
	struct in6_addr any;

	if (peer->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)peer)
				 ->sin_addr.s_addr) >>
		    24 ==
		    IN_LOOPBACKNET;
	if (peer->sa_family != AF_INET6)
		return false;
	any = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(&any) ||
	    (IN6_IS_ADDR_V4MAPPED(&any) && any.s6_addr[12] == IN_LOOPBACKNET);
}

struct query_walk {
	bool (*each)(const char *, const char *, void *);
	void *arg;
};

static enum MHD_Result
on_query(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	const struct query_walk *walk = cls;

	(void)kind;
	return walk->each(key, value, walk->arg) ? MHD_YES : MHD_NO;
}

void
http_query_each(const struct http_request *r,
    bool (*each)(const char *key, const char *value, void *arg), void *arg)
{
	struct query_walk walk = {each, arg};

	MHD_get_connection_values(
	    r->connection, MHD_GET_ARGUMENT_KIND, on_query, &walk);
}
