/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl_table.h"

#include "ctl_help.h"
#include "ctl_help_admin.h"

const struct ctl_table_command ctl_table_commands[] = {
    {"decode", DECODE, ctl_decode, HELP_DECODE},
    {"encode", ENCODE, ctl_decode, HELP_ENCODE},
    {"submit", SUBMIT, ctl_submit, HELP_SUBMIT},
    {"collect", COLLECT, ctl_collect, HELP_COLLECT},
    {"status", STATUS, ctl_status, HELP_STATUS},
    {"cancel", CANCEL, ctl_cancel, HELP_CANCEL},
    {"jobs", JOBS, ctl_jobs, HELP_JOBS},
    {"why", WHY, ctl_why, HELP_WHY},
    {"kick", KICK, ctl_kick, HELP_KICK},
    {"purge", PURGE, ctl_purge, HELP_PURGE},
    {"pause", PAUSE, ctl_pause, HELP_PAUSE},
    {"resume", RESUME, ctl_resume, HELP_RESUME},
    {"reload", RELOAD, ctl_reload, HELP_RELOAD},
    {"drain", DRAIN, ctl_drain, HELP_DRAIN},
    {"top", TOP, ctl_top, HELP_TOP},
    {"watch", WATCH, ctl_watch, HELP_WATCH},
    {"spool", SPOOL, ctl_spool, HELP_SPOOL},
};

const struct ctl_table_option ctl_table_options[] = {
    {"url", true, OPT_URL, CALLS},
    {"producer", true, OPT_PRODUCER, CALLS},
    {"secret-file", true, OPT_SECRET_FILE, CALLS},
    {"timeout", true, OPT_TIMEOUT, CALLS},
    {"quiet", false, OPT_QUIET, ANY},
    {"help", false, OPT_HELP, ANY},
    {"version", false, OPT_VERSION, ANY},
    {"model", true, OPT_MODEL, INPUTS},
    {"out", true, OPT_OUT, DECODE | ENCODE | COLLECT | SPOOL},
    {"format", true, OPT_FORMAT, INPUTS | COLLECT},
    {"width", true, OPT_WIDTH, DECODE | SUBMIT},
    {"height", true, OPT_HEIGHT, DECODE | SUBMIT},
    {"space", true, OPT_SPACE, INPUTS},
    {"tensor", true, OPT_TENSOR, INPUTS},
    {"dtype", true, OPT_DTYPE, INPUTS},
    {"task", true, OPT_TASK, SUBMIT},
    {"force", false, OPT_FORCE, DECODE | ENCODE | COLLECT | SPOOL},
    {"all", false, OPT_ALL, COLLECT | KICK},
    {"all-failed", false, OPT_ALL_FAILED, PURGE},
    {"wait", true, OPT_WAIT, COLLECT},
    {"json", false, OPT_JSON, ANY & ~(INPUTS | COLLECT)},
    {"state", true, OPT_STATE, JOBS},
    {"failed", false, OPT_FAILED, JOBS},
    {"events", true, OPT_EVENTS, WATCH},
    {"once", false, OPT_ONCE, TOP},
    {"no-wait", false, OPT_NO_WAIT, DRAIN},
    {"priority", true, OPT_PRIORITY, INPUTS},
    {"deadline", true, OPT_DEADLINE, INPUTS},
    {"refuse-late", false, OPT_REFUSE_LATE, INPUTS},
    /* submit disconnects at once. */
    {"cancel-on-disconnect", false, OPT_CANCEL_ON_DISCONNECT, DECODE | ENCODE},
    {"busy-timeout", true, OPT_BUSY_TIMEOUT, INPUTS},
    {"tls-ca", true, OPT_TLS_CA, CALLS},
    {"tls-cert", true, OPT_TLS_CERT, CALLS},
    {"tls-key", true, OPT_TLS_KEY, CALLS},
    {"tls-name", true, OPT_TLS_NAME, CALLS},
};
