/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An endpoint of service time 0 for the benchmark of the gateway: answers each
 * request from memory, a file for output_type=pil and a tensor for the others,
 * so that what stands before it is measured.  A thread for each connection;
 * bodies of requests are dropped in the kernel.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_head.h"

struct canned {
	char *bytes; /* head and body */
	size_t n;
};

static struct canned file_reply, tensor_reply;

static struct canned
can(const char *path, const char *headers)
{
	struct canned c = {.n = 0};
	FILE *file = fopen(path, "rbe");
	char *body = malloc(1u << 24);
	size_t body_bytes;
	int head_bytes;

	c.bytes = malloc((1u << 24) + HEAD_BYTES_MAX);
	if (file == NULL || body == NULL || c.bytes == NULL) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	body_bytes = fread(body, 1, 1u << 24, file);
	fclose(file);
	head_bytes = snprintf(c.bytes, HEAD_BYTES_MAX,
	    "HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %zu\r\n\r\n", headers,
	    body_bytes);
	memcpy(c.bytes + head_bytes, body, body_bytes);
	c.n = (size_t)head_bytes + body_bytes;
	free(body);
	return c;
}

static int
send_whole(int fd, const struct canned *c)
{
	ssize_t sent;

	for (size_t at = 0; at < c->n; at += (size_t)sent) {
		sent = send(fd, c->bytes + at, c->n - at, MSG_NOSIGNAL);
		if (sent <= 0)
			return -1;
	}
	return 0;
}

/* Read one request and drop its body; the reply, or NULL at the end. */
static const struct canned *
take_request(int fd)
{
	char head[HEAD_BYTES_MAX + 1];
	size_t n = 0, end = 0, body_bytes = 0, left;
	ssize_t got;

	while (end == 0) {
		got = n < HEAD_BYTES_MAX
		    ? recv(fd, head + n, HEAD_BYTES_MAX - n, 0)
		    : 0;
		if (got <= 0)
			return NULL;
		n += (size_t)got;
		end = head_end(head, n, &body_bytes);
	}
	/* Nobody here sends two requests before the first one's reply. */
	for (left = body_bytes - (n - end); left > 0; left -= (size_t)got) {
		got = recv(fd, NULL, left, MSG_TRUNC);
		if (got <= 0)
			return NULL;
	}
	head[end] = '\0';
	return strstr(head, "output_type=pil") != NULL ? &file_reply
						       : &tensor_reply;
}

static void *
serve(void *arg)
{
	int fd = (int)(intptr_t)arg, one = 1;
	const struct canned *reply;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while ((reply = take_request(fd)) != NULL && send_whole(fd, reply) == 0)
		continue;
	close(fd);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(address);
	int listener, fd;
	pthread_t thread;

	if (argc != 3) {
		fprintf(stderr, "Usage: bench-canned JPEG_FILE PIXELS_FILE\n");
		return 2;
	}
	file_reply = can(argv[1], "Content-Type: image/jpeg");
	tensor_reply = can(argv[2],
	    "Content-Type: tensor/binary\r\nshape: [1,1024,1024,3]\r\n"
	    "dtype: uint8");
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, n) != 0 ||
	    listen(listener, 1024) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &n) != 0) {
		perror("bench-canned");
		return EXIT_FAILURE;
	}
	printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (pthread_create(
			&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
			close(fd);
		else
			pthread_detach(thread);
	}
	return EXIT_FAILURE;
}
