/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two gauges have the names of Hugging Face's own endpoints; what is ours
 * is called latentd_endpoint_*.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "metrics.h"

static const unsigned statuses[METRICS_STATUSES] = {
    200, 400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504};

void
metrics_count_reply(struct metrics *m, unsigned status)
{
	size_t i;

	for (i = 0; i < METRICS_STATUSES; i++) {
		if (statuses[i] == status) {
			m->replies_n[i]++;
			return;
		}
	}
	m->replies_other_n++;
}

struct page {
	char *text;
	size_t bytes;
};

static void add(struct page *page, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
add(struct page *page, const char *fmt, ...)
{
	const size_t left = METRICS_TEXT_BYTES - page->bytes;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(page->text + page->bytes, left, fmt, args);
	va_end(args);
	assert(n >= 0 && (size_t)n < left);
	page->bytes += (size_t)n;
}

static void
add_head(
    struct page *page, const char *name, const char *type, const char *help)
{
	add(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
add_value(struct page *page, const char *name, const char *type,
    const char *help, uint64_t value)
{
	add_head(page, name, type, help);
	add(page, "%s %" PRIu64 "\n", name, value);
}

static void
add_faults(struct page *page, const struct metrics *m)
{
	static const char name[] = "latentd_endpoint_faults_total";
	size_t i;

	add_head(page, name, "counter", "What was done wrong on purpose.");
	for (i = 0; i < FAULTS; i++)
		add(page, "%s{fault=\"%s\"} %" PRIu64 "\n", name,
		    faults_name((enum fault)i), m->faults_n[i]);
	add(page, "%s{fault=\"slow\"} %" PRIu64 "\n", name, m->slow_n);
	add(page, "%s{fault=\"cold\"} %" PRIu64 "\n", name, m->cold_n);
	add(page, "%s{fault=\"down\"} %" PRIu64 "\n", name, m->down_n);
}

size_t
metrics_format(const struct metrics *m, char text[METRICS_TEXT_BYTES])
{
	struct page page = {text, 0};
	size_t i;

	add_value(&page, "inf_batch_current_size", "gauge",
	    "Requests that hold a slot.", m->active_n);
	add_value(&page, "inf_queue_size", "gauge",
	    "Requests that wait for a slot.", m->waiting_n);
	add_head(&page, "latentd_endpoint_replies_total", "counter",
	    "Replies by HTTP status.");
	for (i = 0; i < METRICS_STATUSES; i++)
		add(&page,
		    "latentd_endpoint_replies_total{status=\"%u\"} %" PRIu64
		    "\n",
		    statuses[i], m->replies_n[i]);
	add(&page,
	    "latentd_endpoint_replies_total{status=\"other\"} %" PRIu64 "\n",
	    m->replies_other_n);
	add_faults(&page, m);
	add_value(&page, "latentd_endpoint_request_bytes_total", "counter",
	    "Bytes of decode and encode requests' bodies.", m->request_bytes);
	add_value(&page, "latentd_endpoint_reply_bytes_total", "counter",
	    "Bytes of all replies' bodies.", m->reply_bytes);
	add_head(&page, "latentd_endpoint_compute_seconds_total", "counter",
	    "Time spent by workers.");
	add(&page, "latentd_endpoint_compute_seconds_total %.6f\n",
	    (double)m->compute_ns / 1e9);
	add_value(&page, "latentd_endpoint_cache_hits_total", "counter",
	    "Requests answered from the cache.", m->cache_hits_n);
	add_value(&page, "latentd_endpoint_cache_misses_total", "counter",
	    "Requests looked up in the cache in vain.", m->cache_misses_n);
	add_value(&page, "latentd_endpoint_cache_bytes", "gauge",
	    "Bytes of requests and replies in the cache.", m->cache_bytes);
	return page.bytes;
}
