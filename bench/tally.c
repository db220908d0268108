/* SPDX-License-Identifier: Apache-2.0 */
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tool.h"

struct tally {
	size_t jobs_n;
	uint64_t *took_ns;
	uint64_t start_ns;
	struct rusage before;
};

uint64_t
tally_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct tally *
tally_create(size_t jobs_n)
{
	struct tally *t = calloc(1, sizeof(*t));

	tool_check(t != NULL, "out of memory");
	t->took_ns = calloc(jobs_n, sizeof(*t->took_ns));
	tool_check(t->took_ns != NULL, "out of memory");
	t->jobs_n = jobs_n;
	return t;
}

uint64_t *
tally_took_ns(struct tally *t)
{
	return t->took_ns;
}

void
tally_begin(struct tally *t)
{
	getrusage(RUSAGE_SELF, &t->before);
	t->start_ns = tally_now_ns();
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double
cpu_us(const struct rusage *r)
{
	return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1e6 +
	    (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec);
}

/* Resident memory at the most.  Not getrusage()'s: that begins with what the
 * parent had. */
static double
most_mib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long kib = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	}
	if (file != NULL)
		fclose(file);
	return (double)kib / 1024;
}

void
tally_report(struct tally *t, const char *version)
{
	const uint64_t wall_ns = tally_now_ns() - t->start_ns;
	const double n = (double)t->jobs_n;
	const size_t half = t->jobs_n / 2, most = t->jobs_n * 99 / 100;
	struct rusage after;

	getrusage(RUSAGE_SELF, &after);
	qsort(t->took_ns, t->jobs_n, sizeof(*t->took_ns), compare);
	printf("{\"jobs\": %zu, \"jobs_per_s\": %.2f, \"p50_us\": %.1f, "
	       "\"p99_us\": %.1f, \"client_cpu_us\": %.2f, "
	       "\"client_switches\": %.2f, \"client_rss_mib\": %.1f, "
	       "\"version\": \"%s\"}\n",
	    t->jobs_n, n * 1e9 / (double)wall_ns,
	    (double)t->took_ns[half] / 1e3, (double)t->took_ns[most] / 1e3,
	    (cpu_us(&after) - cpu_us(&t->before)) / n,
	    (double)(after.ru_nvcsw + after.ru_nivcsw - t->before.ru_nvcsw -
		t->before.ru_nivcsw) /
		n,
	    most_mib(), version);
	free(t->took_ns);
	free(t);
}
