/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CTL_EXPORT_H
#define CLIENT_CTL_EXPORT_H

#include "ctl.h"

struct salvage;

/*
 * ctl_export(ctl, salvage):
 * Write what producers are still owed into ${ctl}->out: latents of jobs that
 * have not succeeded, results that were not collected, and manifest.jsonl, a
 * line for each file.  Returns the exit status; FAILED when something was
 * damaged or could not be written, and then the rest is there.
 */
int ctl_export(const struct ctl *ctl, struct salvage *salvage);

#endif
