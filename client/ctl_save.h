/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CTL_SAVE_H
#define CLIENT_CTL_SAVE_H

#include "ctl.h"

/* ctl_save_name(ctl, stem, name): the file that a single result of ${ctl}'s
 * request is written to, "STEM.png"; room for NAME_MAX + 1. */
void ctl_save_name(const struct ctl *ctl, const char *stem, char *name);

/*
 * ctl_save(ctl, result, stem, why):
 * Write the parts of a good ${result} into ${ctl}->out as ${stem}, or to
 * standard output.  ${ctl}->model may be NULL (collect).  Fails with IO,
 * MEMORY, UNSUPPORTED (several parts to standard output).
 */
enum latentd_err ctl_save(const struct ctl *ctl,
    const struct latentd_result *result, const char *stem,
    void (*on_written)(const char *name, void *arg), void *arg,
    struct reason *why);

#endif
