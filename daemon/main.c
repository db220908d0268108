/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentd: options, signals, the loop.
 */
#include <getopt.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <build_version.h>
#include <curl/curl.h>
#include <uv.h>

#include "base/log.h"
#include "base/nng_threads.h"
#include "config.h"
#include "confine.h"
#include "nearest.h"
#include "pipeline.h"

enum exit_code { EXIT_USAGE = 2, EXIT_CONFIG = 3 };

static const char help[] =
    "usage: latentd [OPTION]...\n"
    "\n"
    "Accept latents from many producers, have remote endpoints decode them,\n"
    "and keep the images until their producers have collected them.\n"
    "\n"
    "  --config FILE      read the configuration from FILE\n"
    "                     (default /etc/latentd/latentd.conf)\n"
    "  --check            check the configuration, print what would be used\n"
    "                     with all defaults, and exit\n"
    "  --log-level LEVEL  error, warn, info or debug, whatever the\n"
    "                     configuration says\n"
    "  --log-format FORMAT\n"
    "                     text or json, likewise\n"
    "  --version          print the version and exit\n"
    "  --help             print this and exit\n"
    "\n"
    "SIGTERM and SIGINT finish the jobs there are and stop; a second one\n"
    "stops at once.  SIGHUP takes over the changed configuration, if all of\n"
    "it is right, and tries endpoints that were stopped.\n"
    "\n"
    "Exit status: 0 stopped or checked, 1 could not start, 2 wrong usage,\n"
    "3 wrong configuration.\n";

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check", no_argument, NULL, 'k'},
    {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'},
    {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Lines of one kind are held back beyond so many in such a time. */
#define REPEATS_N 20u
#define REPEATS_MS 10000u

struct arguments {
	const char *config;
	bool check;
	bool has_level;
	bool has_format;
	enum log_level level;
	enum log_format format;
};

struct program {
	uv_loop_t loop;
	uv_signal_t term;
	uv_signal_t interrupt;
	uv_signal_t hangup;
	uv_timer_t log_timer;
	const struct arguments *arguments;
	struct pipeline *pipeline;
	bool stopping;
};

static int
complain_option(const char *option)
{
	static const char *const names[] = {
	    "config", "check", "log-level", "log-format", "version", "help"};
	const char *nearest = NULL;

	while (*option == '-')
		option++;
	nearest = nearest_name(option, names, sizeof(names) / sizeof(names[0]));
	fprintf(stderr, "latentd: no option --%s%s%s; see --help\n", option,
	    nearest != NULL ? "; did you mean --" : "",
	    nearest != NULL ? nearest : "");
	return EXIT_USAGE;
}

static bool
read_log(int option, const char *value, struct arguments *a)
{
	if (option == 'l' && log_level_parse(value, &a->level))
		a->has_level = true;
	else if (option == 'f' && log_format_parse(value, &a->format))
		a->has_format = true;
	else
		fprintf(stderr, "latentd: --log-%s is \"%s\", but must be %s\n",
		    option == 'l' ? "level" : "format", value,
		    option == 'l' ? "error, warn, info or debug"
				  : "text or json");
	return option == 'l' ? a->has_level : a->has_format;
}

/* Returns -1 to go on, or the exit code. */
static int
read_arguments(int argc, char **argv, struct arguments *a)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == 'c') {
			a->config = optarg;
		} else if (c == 'k') {
			a->check = true;
		} else if (c == 'l' || c == 'f') {
			if (!read_log(c, optarg, a))
				return EXIT_USAGE;
		} else if (c == 'v') {
			puts("latentd " BUILD_VERSION);
			return EXIT_SUCCESS;
		} else if (c == 'h') {
			fputs(help, stdout);
			return EXIT_SUCCESS;
		} else if (c == ':') {
			fprintf(stderr,
			    "latentd: %s needs a value; see "
			    "--help\n",
			    argv[optind - 1]);
			return EXIT_USAGE;
		} else {
			return complain_option(argv[optind - 1]);
		}
	}
	if (optind < argc) {
		fprintf(stderr,
		    "latentd: unexpected argument \"%s\"; see "
		    "--help\n",
		    argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

/* Let this thread, and those that it creates, take our signals or not. */
static void
mask_signals(int how)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(how, &ours, NULL);
}

/*
 * libuv leaves the default action when a signal's last handle closes; a signal
 * that comes then must not cut the end short.
 */
static void
close_signals(struct program *prog)
{
	mask_signals(SIG_BLOCK);
	uv_close((uv_handle_t *)&prog->term, NULL);
	uv_close((uv_handle_t *)&prog->interrupt, NULL);
	uv_close((uv_handle_t *)&prog->hangup, NULL);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

static void
on_drained(void *arg)
{
	struct program *prog = arg;

	/* A second signal and the end of the drain may both come here. */
	if (uv_is_closing((uv_handle_t *)&prog->term))
		return;
	pipeline_close(prog->pipeline);
	close_signals(prog);
}

static void
on_signal(uv_signal_t *signal, int number)
{
	struct program *prog = signal->data;

	if (uv_is_closing((uv_handle_t *)signal))
		return;
	if (prog->stopping) {
		log_warn("second signal %d: stopping now", number);
		on_drained(prog);
		return;
	}
	prog->stopping = true;
	pipeline_drain(prog->pipeline);
}

static void
on_hangup(uv_signal_t *signal, int number)
{
	struct program *prog = signal->data;

	(void)number;
	if (!prog->stopping)
		pipeline_reload(prog->pipeline);
}

static void
listen_for_signals(struct program *prog)
{
	signal(SIGPIPE, SIG_IGN);
	uv_signal_init(&prog->loop, &prog->term);
	uv_signal_init(&prog->loop, &prog->interrupt);
	uv_signal_init(&prog->loop, &prog->hangup);
	prog->term.data = prog->interrupt.data = prog->hangup.data = prog;
	uv_signal_start(&prog->term, on_signal, SIGTERM);
	uv_signal_start(&prog->interrupt, on_signal, SIGINT);
	uv_signal_start(&prog->hangup, on_hangup, SIGHUP);
	mask_signals(SIG_UNBLOCK);
}

/* What the command line says goes before the configuration. */
static void
apply_log(const struct arguments *a, const struct config *config)
{
	log_change(a->has_level ? a->level : config->log_level,
	    a->has_format ? a->format : config->log_format);
}

static void
on_log_timer(uv_timer_t *timer)
{
	(void)timer;
	log_tick();
}

static void
start_log_timer(struct program *prog)
{
	uv_timer_init(&prog->loop, &prog->log_timer);
	uv_timer_start(&prog->log_timer, on_log_timer, REPEATS_MS, REPEATS_MS);
	uv_unref((uv_handle_t *)&prog->log_timer);
}

static void
tell_ready(const struct config *config)
{
	for (size_t i = 0; i < config->listen_n; i++)
		log_info("ready: %s", config->listen[i]);
}

static void
on_config(const struct config *config, void *arg)
{
	const struct program *prog = arg;

	apply_log(prog->arguments, config);
}

/* Takes ${config}. */
static int
run(const struct arguments *arguments, struct config *config)
{
	struct program prog = {.arguments = arguments};
	const struct pipeline_sinks sinks = {
	    .on_drained = on_drained, .on_config = on_config, .arg = &prog};
	struct reason why;
	enum latentd_err err;

	uv_loop_init(&prog.loop);
	start_log_timer(&prog);
	err = pipeline_open(&prog.loop, config, &sinks, &prog.pipeline, &why);
	if (err == LATENTD_OK) {
		listen_for_signals(&prog);
		pipeline_ready(prog.pipeline);
		tell_ready(pipeline_config(prog.pipeline));
	} else {
		log_error("cannot start: %s", why.text);
	}
	uv_run(&prog.loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&prog.log_timer, NULL);
	uv_run(&prog.loop, UV_RUN_DEFAULT);
	uv_loop_close(&prog.loop);
	log_tick();
	if (err == LATENTD_OK)
		log_info("stopped");
	return err == LATENTD_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * Keep what a payload has used for the next one: by itself glibc gives
 * megabytes back to the kernel with each free, and half of the time for a
 * reply of 3 MiB goes into faulting them in again.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
#endif
}

int
main(int argc, char **argv)
{
	struct arguments arguments = {.config = "/etc/latentd/latentd.conf"};
	struct config *config;
	struct reason why;
	unsigned seed;
	int code;

	code = read_arguments(argc, argv, &arguments);
	if (code >= 0)
		return code;
	if (config_read(arguments.config, &config, &why) != LATENTD_OK) {
		fprintf(stderr, "latentd: %s\n", why.text);
		return EXIT_CONFIG;
	}
	if (arguments.check) {
		config_print(config, stdout);
		config_destroy(config);
		return EXIT_SUCCESS;
	}
	/* Jitter only: what must not be guessed comes from getrandom(). */
	if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		srandom(seed);
	keep_memory();
	log_open(&(const struct log_options){
	    .program = "latentd", .repeats_n = REPEATS_N});
	apply_log(&arguments, config);
	confine(config, arguments.config);
	/* nng's threads must not take them. */
	mask_signals(SIG_BLOCK);
	nng_threads_start();
	curl_global_init(CURL_GLOBAL_DEFAULT);
	code = run(&arguments, config);
	curl_global_cleanup();
	return code;
}
