/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentd-endpoint: the default endpoint.  main() sets up the process (worker
 * count, signals), runs the loop until the server has stopped, and says how it
 * went.  Exit status: 0, 1 for a failure, 2 for a wrong command line.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <build_version.h>
#include <uv.h>

#include "base/log.h"
#include "options.h"
#include "server.h"
#include "video.h"

#define EXIT_USAGE 2

struct program {
	struct server *server;
	uv_signal_t terminate;
	uv_signal_t interrupt;
};

/* As many workers as processors, at least two; before libuv starts any. */
static void
set_worker_count(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	char text[16];

	if (processors < 2)
		processors = 2;
	if (processors > 128)
		processors = 128;
	snprintf(text, sizeof(text), "%ld", processors);
	setenv("UV_THREADPOOL_SIZE", text, 0);
}

static void
on_stopped(void *arg)
{
	struct program *program = arg;

	program->server = NULL;
	uv_close((uv_handle_t *)&program->terminate, NULL);
	uv_close((uv_handle_t *)&program->interrupt, NULL);
}

static void
on_signal(uv_signal_t *handle, int number)
{
	struct program *program = handle->data;

	if (program->server == NULL)
		return;
	log_info("%s: stopping", strsignal(number));
	server_stop(program->server, on_stopped, program);
}

static void
watch_signals(uv_loop_t *loop, struct program *program)
{
	signal(SIGPIPE, SIG_IGN);
	uv_signal_init(loop, &program->terminate);
	uv_signal_init(loop, &program->interrupt);
	program->terminate.data = program;
	program->interrupt.data = program;
	uv_signal_start(&program->terminate, on_signal, SIGTERM);
	uv_signal_start(&program->interrupt, on_signal, SIGINT);
}

/* "listening on http://HOST:PORT", with the port that ":0" became. */
static void
announce(const struct options *options, const struct server *server)
{
	const char *colon = strrchr(options->listen, ':');

	printf("listening on http://%.*s:%u\n", (int)(colon - options->listen),
	    options->listen, server_port(server));
	fflush(stdout);
}

static int
serve(const struct options *options)
{
	struct program program = {.server = NULL};
	struct reason why;
	uv_loop_t loop;

	set_worker_count();
	video_quiet();
	if (uv_loop_init(&loop) != 0) {
		fprintf(stderr, "latentd-endpoint: no event loop\n");
		return EXIT_FAILURE;
	}
	if (server_open(&loop, options, &program.server, &why) != LATENTD_OK) {
		fprintf(stderr, "latentd-endpoint: %s\n", why.text);
		uv_run(&loop, UV_RUN_DEFAULT);
		uv_loop_close(&loop);
		return why.err == LATENTD_ERR_INVALID ? EXIT_USAGE
						      : EXIT_FAILURE;
	}
	watch_signals(&loop, &program);
	announce(options, program.server);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	struct options options;
	struct reason why;
	enum latentd_err err;

	err = options_parse(argc, argv, &options, &why);
	if (err != LATENTD_OK) {
		fprintf(stderr,
		    "latentd-endpoint: %s\n"
		    "Try latentd-endpoint --help\n",
		    why.text);
		return err == LATENTD_ERR_INVALID ? EXIT_USAGE : EXIT_FAILURE;
	}
	if (options.help) {
		fputs(options_usage(), stdout);
		return EXIT_SUCCESS;
	}
	if (options.version) {
		puts("latentd-endpoint " BUILD_VERSION);
		return EXIT_SUCCESS;
	}
	log_open(&(const struct log_options){.program = "latentd-endpoint",
	    .level = options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO});
	log_debug("seed %" PRIu64, options.faults.seed);
	return serve(&options);
}
