/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CONFINE_H
#define DAEMON_CONFINE_H

#include "config.h"

/*
 * confine(config, path): enter the sandbox (base/sandbox.h), unless ${config}
 * says not to, with what the daemon needs of the file system: the directory of
 * its configuration file ${path}, those of the files that it names, and those
 * of its sockets.  Logs what is in force.  Before the first thread.
 */
void confine(const struct config *config, const char *path);

#endif
