/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_UNREACHABLE_H
#define CLIENT_UNREACHABLE_H

#include "reason.h"

/*
 * unreachable_say(url, why):
 * Set ${why} to UNREACHABLE and a sentence that says why nobody may answer at
 * ${url}, as far as the file system shows it, and what to do.  Any thread.
 */
enum latentd_err unreachable_say(const char *url, struct reason *why);

#endif
