/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, read by the tables of ctl_table.c. */
#include "ctl_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <build_version.h>

#include "ctl_help.h"
#include "ctl_parse.h"
#include "ctl_table.h"
#include "nearest.h"
#include "tensor.h"

static bool
parse_format(struct ctl *ctl, const char *value, int command)
{
	static const char *const decode[] = {
	    "png", "jpg", "mp4", "npy", "safetensors"};
	static const char *const tensor[] = {"npy", "safetensors"};
	size_t i;

	if (command == DECODE || command == SUBMIT) {
		if (!ctl_parse_choice("format", value, decode, 5, &i))
			return false;
		ctl->format = CTL_FORMAT_PNG + (unsigned)i;
		return true;
	}
	if (!ctl_parse_choice("format", value, tensor, 2, &i))
		return false;
	ctl->format = CTL_FORMAT_NPY + (unsigned)i;
	return true;
}

static bool
parse_input_option(struct ctl *ctl, enum option_id id, const char *value)
{
	static const char *const spaces[] = {"model", "vae"};
	static const char *const tasks[] = {"decode", "encode"};
	static const char *const dtypes[] = {"float16", "bfloat16", "float32"};
	size_t i;

	switch ((int)id) {
	case OPT_SPACE:
		if (!ctl_parse_choice("space", value, spaces, 2, &i))
			return false;
		ctl->input.has_space = true;
		ctl->input.space =
		    i == 0 ? LATENTD_SPACE_MODEL : LATENTD_SPACE_VAE;
		return true;
	case OPT_TASK:
		if (!ctl_parse_choice("task", value, tasks, 2, &i))
			return false;
		ctl->input.task = i == 0 ? LATENTD_DECODE : LATENTD_ENCODE;
		return true;
	case OPT_DTYPE:
		if (!ctl_parse_choice("dtype", value, dtypes, 3, &i))
			return false;
		ctl->input.dtype = dtype_find(value, strlen(value));
		return true;
	default:
		ctl->input.tensor = value;
		return true;
	}
}

/* Options of the operator's commands; none can be wrong by itself. */
static bool
take_admin_option(struct ctl *ctl, enum option_id id, const char *value)
{
	switch ((int)id) {
	case OPT_STATE:
		ctl->state = value;
		return true;
	case OPT_FAILED:
		ctl->state = "failed";
		return true;
	case OPT_EVENTS:
		ctl->events = value;
		return true;
	case OPT_ONCE:
		ctl->once = true;
		return true;
	case OPT_NO_WAIT:
		ctl->no_wait = true;
		return true;
	default:
		return false;
	}
}

static bool
parse_order_option(struct ctl *ctl, enum option_id id, const char *value)
{
	switch ((int)id) {
	case OPT_PRIORITY:
		ctl->has_priority = true;
		return ctl_parse_priority(value, &ctl->priority);
	case OPT_DEADLINE:
		return ctl_parse_deadline(value, &ctl->deadline_ms);
	case OPT_BUSY_TIMEOUT:
		return ctl_parse_busy_timeout(value, &ctl->busy_timeout_ms);
	case OPT_REFUSE_LATE:
		ctl->refuse_late = true;
		return true;
	default:
		ctl->cancel_on_disconnect = true;
		return true;
	}
}

/* Which daemon, and who asks; liblatentd reads the files. */
static bool
take_daemon_option(struct ctl *ctl, enum option_id id, const char *value)
{
	switch ((int)id) {
	case OPT_URL:
		ctl->url = value;
		return true;
	case OPT_PRODUCER:
		ctl->producer = value;
		return true;
	case OPT_SECRET_FILE:
		ctl->secret_file = value;
		return true;
	case OPT_TLS_CA:
		ctl->tls.ca_file = value;
		return true;
	case OPT_TLS_CERT:
		ctl->tls.certificate_file = value;
		return true;
	case OPT_TLS_KEY:
		ctl->tls.key_file = value;
		return true;
	default:
		ctl->tls.server_name = value;
		return true;
	}
}

/* Options that are there or not. */
static bool
take_flag(struct ctl *ctl, enum option_id id)
{
	switch ((int)id) {
	case OPT_QUIET:
		ctl->quiet = true;
		return true;
	case OPT_FORCE:
		ctl->force = true;
		return true;
	case OPT_ALL:
	case OPT_ALL_FAILED:
		ctl->all = true;
		return true;
	case OPT_JSON:
		ctl->json = true;
		return true;
	default:
		return false;
	}
}

static bool
take_option(struct ctl *ctl, enum option_id id, const char *value, int command)
{
	switch (id) {
	case OPT_URL:
	case OPT_PRODUCER:
	case OPT_SECRET_FILE:
	case OPT_TLS_CA:
	case OPT_TLS_CERT:
	case OPT_TLS_KEY:
	case OPT_TLS_NAME:
		return take_daemon_option(ctl, id, value);
	case OPT_TIMEOUT:
		return ctl_parse_seconds("timeout", value, &ctl->timeout_ms);
	case OPT_WAIT:
		return ctl_parse_seconds("wait", value, &ctl->wait_ms);
	case OPT_MODEL:
		ctl->model = value;
		return true;
	case OPT_OUT:
		ctl->out = value;
		return true;
	case OPT_FORMAT:
		return parse_format(ctl, value, command);
	case OPT_WIDTH:
		return ctl_parse_pixels("width", value, &ctl->width_px);
	case OPT_HEIGHT:
		return ctl_parse_pixels("height", value, &ctl->height_px);
	case OPT_STATE:
	case OPT_FAILED:
	case OPT_EVENTS:
	case OPT_ONCE:
	case OPT_NO_WAIT:
		return take_admin_option(ctl, id, value);
	case OPT_SPACE:
	case OPT_TENSOR:
	case OPT_DTYPE:
	case OPT_TASK:
		return parse_input_option(ctl, id, value);
	case OPT_PRIORITY:
	case OPT_DEADLINE:
	case OPT_REFUSE_LATE:
	case OPT_CANCEL_ON_DISCONNECT:
	case OPT_BUSY_TIMEOUT:
		return parse_order_option(ctl, id, value);
	case OPT_QUIET:
	case OPT_FORCE:
	case OPT_ALL:
	case OPT_ALL_FAILED:
	case OPT_JSON:
	case OPT_HELP:
	case OPT_VERSION:
		break;
	}
	return take_flag(ctl, id);
}

/* Name an option that the command does not have. */
static void
unknown_option(const char *arg, const char *command, int bit)
{
	const char *names[CTL_OPTIONS_N], *near;
	char word[64];
	size_t n = 0;

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(arg, "="), arg);
	for (size_t i = 0; i < CTL_OPTIONS_N; i++) {
		if ((ctl_table_options[i].commands & bit) != 0)
			names[n++] = ctl_table_options[i].name;
	}
	near = nearest_name(word + strspn(word, "-"), names, n);
	if (near != NULL)
		ctl_error("%s has no option %s; did you mean --%s?", command,
		    word, near);
	else
		ctl_error("%s has no option %s; latentctl %s --help lists its "
			  "options",
		    command, word, command);
}

static void
fill_long_options(struct option *table, int bit)
{
	size_t n = 0;

	for (size_t i = 0; i < CTL_OPTIONS_N; i++) {
		if ((ctl_table_options[i].commands & bit) == 0)
			continue;
		table[n++] = (struct option){ctl_table_options[i].name,
		    ctl_table_options[i].value ? required_argument
					       : no_argument,
		    NULL, (int)ctl_table_options[i].id};
	}
	table[n] = (struct option){NULL, 0, NULL, 0};
}

static int
print_help(const char *help)
{
	fputs(help, stdout);
	return CTL_DONE;
}

static int
print_version(void)
{
	puts("latentctl " BUILD_VERSION);
	return CTL_DONE;
}

/* Whether all files could say their models themselves. */
static bool
may_name_models(const struct ctl *ctl)
{
	static const char end[] = ".safetensors";

	for (size_t i = 0; i < ctl->args_n; i++) {
		size_t n = strlen(ctl->args[i]);

		if (n < sizeof(end) ||
		    strcmp(ctl->args[i] + n - (sizeof(end) - 1), end) != 0)
			return false;
	}
	return true;
}

static int
check_model(const struct ctl *ctl, const char *command)
{
	if (ctl->model == NULL && !may_name_models(ctl)) {
		ctl_error("%s needs --model: sd-v1, sdxl, flux or "
			  "hunyuan-video",
		    command);
		return CTL_USAGE;
	}
	if ((ctl->width_px == 0) != (ctl->height_px == 0)) {
		ctl_error("--width and --height belong together; --%s is "
			  "missing",
		    ctl->width_px == 0 ? "width" : "height");
		return CTL_USAGE;
	}
	if (ctl->refuse_late && ctl->deadline_ms == 0) {
		ctl_error("--refuse-late needs a --deadline to be late for");
		return CTL_USAGE;
	}
	if (ctl->input.task == LATENTD_ENCODE &&
	    (ctl->format == CTL_FORMAT_PNG || ctl->format == CTL_FORMAT_JPG ||
		ctl->format == CTL_FORMAT_MP4)) {
		ctl_error("encode gives latents; --format can be npy or "
			  "safetensors");
		return CTL_USAGE;
	}
	return CTL_DONE;
}

static int
check_spool(const struct ctl *ctl)
{
	static const char *const actions[] = {"check", "stat", "export"};
	size_t i = 0;

	while (
	    ctl->args_n > 0 && i < 3 && strcmp(ctl->args[0], actions[i]) != 0)
		i++;
	if (ctl->args_n == 0 || i == 3) {
		ctl_error("spool needs to be told what: check, stat or export");
		return CTL_USAGE;
	}
	if (ctl->args_n > 2) {
		ctl_error(
		    "spool takes one directory, not also \"%s\"", ctl->args[2]);
		return CTL_USAGE;
	}
	if (i < 2 && (ctl->force || strcmp(ctl->out, ".") != 0)) {
		ctl_error("spool %s writes no files; --out and --force are "
			  "for export",
		    actions[i]);
		return CTL_USAGE;
	}
	return CTL_DONE;
}

/* Commands that take arguments need at least one, and others none. */
static int
check_args(const struct ctl *ctl, int bit, const char *command)
{
	const char *what = (bit & INPUTS) != 0 ? "file"
	    : bit == WHY                       ? "id or key"
	    : bit == CANCEL                    ? "key or id"
	    : (bit & (PAUSE | RESUME)) != 0    ? "side: in, out or both"
					       : "id";

	if ((bit & (INPUTS | WHY | CANCEL | PAUSE | RESUME)) != 0 &&
	    ctl->args_n == 0) {
		ctl_error("%s needs at least one %s", command, what);
		return CTL_USAGE;
	}
	if ((bit & (KICK | PURGE)) != 0 && ctl->all != (ctl->args_n == 0)) {
		ctl_error("%s needs the ids of failed jobs, or --%s for all of "
			  "them",
		    command, bit == KICK ? "all" : "all-failed");
		return CTL_USAGE;
	}
	if (bit == SPOOL)
		return check_spool(ctl);
	if ((bit & NO_ARGS) != 0 && ctl->args_n > 0) {
		ctl_error(
		    "%s takes no argument like \"%s\"", command, ctl->args[0]);
		return CTL_USAGE;
	}
	return CTL_DONE;
}

static int
check(const struct ctl *ctl, int bit, const char *command)
{
	int status = check_args(ctl, bit, command);

	if (status != CTL_DONE)
		return status;
	if ((bit & INPUTS) != 0)
		return check_model(ctl, command);
	if (bit == COLLECT && strcmp(ctl->out, "-") == 0) {
		ctl_error("collect writes files; --out must be a directory");
		return CTL_USAGE;
	}
	return CTL_DONE;
}

static int
parse(int argc, char **argv, size_t i, struct ctl *ctl, bool *run)
{
	struct option table[CTL_OPTIONS_N + 1];
	int bit = ctl_table_commands[i].bit, id;
	const char *name = ctl_table_commands[i].name;

	fill_long_options(table, bit);
	optind = 1;
	for (;;) {
		int at = optind;

		id = getopt_long(argc, argv, ":", table, NULL);
		if (id == -1)
			break;
		if (id == OPT_HELP)
			return print_help(ctl_table_commands[i].help);
		if (id == OPT_VERSION)
			return print_version();
		if (id == ':') {
			ctl_error("%s needs a value", argv[optind - 1]);
			return CTL_USAGE;
		}
		if (id == '?') {
			/* A cluster of short options leaves optind alone. */
			unknown_option(
			    argv[optind > at ? optind - 1 : at], name, bit);
			return CTL_USAGE;
		}
		if (!take_option(ctl, (enum option_id)id, optarg, bit))
			return CTL_USAGE;
	}
	ctl->args = argv + optind;
	ctl->args_n = (size_t)(argc - optind);
	*run = true;
	return check(ctl, bit, name);
}

static int
unknown_command(const char *word)
{
	const char *names[CTL_COMMANDS_N], *near;

	for (size_t i = 0; i < CTL_COMMANDS_N; i++)
		names[i] = ctl_table_commands[i].name;
	near = nearest_name(word, names, CTL_COMMANDS_N);
	if (word[0] == '-')
		ctl_error(
		    "the command comes first: latentctl COMMAND %s", word);
	else if (near != NULL)
		ctl_error(
		    "there is no command %s; did you mean %s?", word, near);
	else
		ctl_error("there is no command %s; latentctl --help lists "
			  "them",
		    word);
	return CTL_USAGE;
}

int
ctl_options(
    int argc, char **argv, struct ctl *ctl, int (**command)(struct ctl *))
{
	bool run = false;
	size_t i;
	int status;

	*command = NULL;
	*ctl = (struct ctl){.timeout_ms = -1, .wait_ms = -1, .out = "."};
	if (argc < 2) {
		fputs(HELP_MAIN, stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return print_help(HELP_MAIN);
	if (strcmp(argv[1], "--version") == 0)
		return print_version();
	for (i = 0; i < CTL_COMMANDS_N; i++) {
		if (strcmp(argv[1], ctl_table_commands[i].name) == 0)
			break;
	}
	if (i == CTL_COMMANDS_N)
		return unknown_command(argv[1]);
	if (ctl_table_commands[i].bit == ENCODE)
		ctl->input.task = LATENTD_ENCODE;
	status = parse(argc - 1, argv + 1, i, ctl, &run);
	if (run && status == CTL_DONE)
		*command = ctl_table_commands[i].run;
	return status;
}
