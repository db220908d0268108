/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CTL_OPTIONS_H
#define CLIENT_CTL_OPTIONS_H

#include "ctl.h"

/*
 * ctl_options(argc, argv, ctl, command):
 * Read the command line.  ${*command} is what to run; NULL when there is
 * nothing to run (help, or an error that was said), and then the exit status
 * is returned.
 */
int ctl_options(
    int argc, char **argv, struct ctl *ctl, int (**command)(struct ctl *));

#endif
