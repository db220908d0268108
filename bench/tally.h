/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stddef.h>
#include <stdint.h>

/*
 * What a load generator measures: how long each job took, and what the process
 * used while they ran.  Any thread may write its own elements of ${took_ns}; the
 * functions are for one thread.
 */
struct tally;

/* tally_now_ns(): the monotonic clock. */
uint64_t tally_now_ns(void);

/* tally_create(jobs_n): for that many jobs, at least 1; ends the program when
 * there is no memory. */
struct tally *tally_create(size_t jobs_n);

/* tally_took_ns(t): where the time of each job is written, in any order. */
uint64_t *tally_took_ns(struct tally *t);

/* tally_begin(t): the first job is sent after this. */
void tally_begin(struct tally *t);

/* tally_report(t, version): the last job is done: print everything as JSON on
 * one line, and free ${t}.  ${version} is of what sent the jobs. */
void tally_report(struct tally *t, const char *version);

#endif
