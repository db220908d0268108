/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of latentctl and their options: one table says which option
 * belongs to which command, so that an option that would do nothing is refused.
 */
#ifndef CLIENT_CTL_TABLE_H
#define CLIENT_CTL_TABLE_H

#include "ctl.h"

enum {
	DECODE = 1,
	ENCODE = 2,
	SUBMIT = 4,
	COLLECT = 8,
	STATUS = 16,
	CANCEL = 32,
	JOBS = 64,
	WHY = 128,
	KICK = 256,
	PURGE = 512,
	PAUSE = 1024,
	RESUME = 2048,
	DRAIN = 4096,
	TOP = 8192,
	WATCH = 16384,
	RELOAD = 32768,
	SPOOL = 65536,
};

#define INPUTS (DECODE | ENCODE | SUBMIT)
#define NO_ARGS (COLLECT | STATUS | JOBS | RELOAD | DRAIN | TOP | WATCH)
#define ANY 131071
/* What talks to a daemon. */
#define CALLS (ANY & ~SPOOL)

enum option_id {
	OPT_URL = 256,
	OPT_PRODUCER,
	OPT_SECRET_FILE,
	OPT_TIMEOUT,
	OPT_QUIET,
	OPT_HELP,
	OPT_VERSION,
	OPT_MODEL,
	OPT_OUT,
	OPT_FORMAT,
	OPT_WIDTH,
	OPT_HEIGHT,
	OPT_SPACE,
	OPT_TENSOR,
	OPT_DTYPE,
	OPT_TASK,
	OPT_FORCE,
	OPT_ALL,
	OPT_ALL_FAILED,
	OPT_WAIT,
	OPT_JSON,
	OPT_STATE,
	OPT_FAILED,
	OPT_EVENTS,
	OPT_ONCE,
	OPT_NO_WAIT,
	OPT_PRIORITY,
	OPT_DEADLINE,
	OPT_REFUSE_LATE,
	OPT_CANCEL_ON_DISCONNECT,
	OPT_BUSY_TIMEOUT,
	OPT_TLS_CA,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TLS_NAME,
};

struct ctl_table_command {
	const char *name;
	int bit;
	int (*run)(struct ctl *);
	const char *help;
};

struct ctl_table_option {
	const char *name;
	bool value;
	enum option_id id;
	int commands;
};

#define CTL_COMMANDS_N 17
#define CTL_OPTIONS_N 35

extern const struct ctl_table_command ctl_table_commands[CTL_COMMANDS_N];
extern const struct ctl_table_option ctl_table_options[CTL_OPTIONS_N];

#endif
