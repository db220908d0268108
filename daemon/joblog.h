/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_JOBLOG_H
#define DAEMON_JOBLOG_H

#include "job.h"

/* joblog_ended(job): the one line about a job that has ended, on which an
 * operator can search. */
void joblog_ended(const struct job *job);

/* joblog_retry(job): its last request failed and it will be tried again. */
void joblog_retry(const struct job *job);

/* joblog_buried(job): its producer knows that it failed; its latent is kept.
 * joblog_forgotten(job, why): it is not any more. */
void joblog_buried(const struct job *job);
void joblog_forgotten(const struct job *job, const char *why);

/* joblog_dropped(job, why): its result was given up. */
void joblog_dropped(const struct job *job, const char *why);

#endif
