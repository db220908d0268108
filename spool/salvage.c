/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk notes where everything is, by table and in order of ids; records and
 * pieces are then read from there, each checked by its CRC.
 */
#include "salvage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_KEY "format"
#define FORMAT_BYTES 8u

/* Where a row's data is. */
struct place {
	uint64_t id;
	uint64_t number; /* of a piece; for known: the time */
	uint64_t at;
	uint64_t bytes;
};

struct list {
	struct place *places;
	size_t n;
	size_t room;
};

struct salvage {
	struct walk *walk;
	struct list lists[TABLES];
	uint64_t format;
	salvage_damaged *damaged;
	void *arg;
	uint64_t damages_n;
};

static void __attribute__((format(printf, 2, 3)))
tell(struct salvage *s, const char *fmt, ...)
{
	char text[LATENTD_MAX_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->damages_n++;
	s->damaged(text, s->arg);
}

/* ---- the walk ---- */

static uint64_t
number_at(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

static void
add(struct list *list, const struct place *place)
{
	struct place *more;

	if (list->n == list->room) {
		list->room = list->room == 0 ? 64 : 2 * list->room;
		more = reallocarray(list->places, list->room, sizeof(*more));
		if (more == NULL)
			abort();
		list->places = more;
	}
	list->places[list->n++] = *place;
}

static void
read_meta(struct salvage *s, const struct walk_row *row)
{
	uint8_t at[FORMAT_BYTES];

	if (row->key_bytes != strlen(FORMAT_KEY) ||
	    memcmp(row->key, FORMAT_KEY, row->key_bytes) != 0)
		return;
	if (row->bytes == 0 || row->bytes > sizeof(at) ||
	    !walk_read(s->walk, row->at, at, (size_t)row->bytes))
		return;
	s->format = 0;
	for (size_t i = (size_t)row->bytes; i-- > 0;)
		s->format = s->format << 8 | at[i];
}

static void
on_row(enum table table, const struct walk_row *row, void *arg)
{
	static const size_t key_bytes[TABLES] = {[TABLE_JOBS] = 8,
	    [TABLE_STATES] = 8,
	    [TABLE_BODIES] = 12,
	    [TABLE_RESULTS] = 12,
	    [TABLE_KNOWN] = 16,
	    [TABLE_ASIDE] = 8};
	struct salvage *s = arg;
	struct place place = {.at = row->at, .bytes = row->bytes};

	if (table == TABLE_META) {
		read_meta(s, row);
		return;
	}
	if (row->key_bytes != key_bytes[table]) {
		tell(s, "table %s: a key of %zu bytes; they have %zu",
		    walk_table_name(table), row->key_bytes, key_bytes[table]);
		return;
	}
	if (table == TABLE_KNOWN) {
		place.number = number_at(row->key, 8);
		place.id = number_at(row->key + 8, 8);
	} else {
		place.id = number_at(row->key, 8);
		place.number = number_at(row->key + 8, row->key_bytes - 8);
	}
	add(&s->lists[table], &place);
}

static void
on_damage(const char *text, void *arg)
{
	tell(arg, "%s", text);
}

static int
compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

enum latentd_err
salvage_open(const char *dir, salvage_damaged *damaged, void *arg,
    struct salvage **salvage, struct reason *why)
{
	struct salvage *s = calloc(1, sizeof(*s));
	const struct walk_visitor visitor = {on_row, on_damage, s};
	enum latentd_err err;

	*salvage = NULL;
	if (s == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	s->damaged = damaged;
	s->arg = arg;
	err = walk_open(dir, true, &s->walk, why);
	if (err != LATENTD_OK) {
		free(s);
		return err;
	}
	walk_all(s->walk, &visitor);
	if (s->format > SPOOL_FORMAT) {
		err = reason_set(why, LATENTD_ERR_VERSION,
		    "the spool in %s has format %llu, from a newer latentd; "
		    "this latentctl knows up to %u",
		    dir, (unsigned long long)s->format, SPOOL_FORMAT);
		salvage_close(s);
		return err;
	}
	for (int i = 0; i < TABLES; i++) {
		if (s->lists[i].n > 0)
			qsort(s->lists[i].places, s->lists[i].n,
			    sizeof(struct place), compare);
	}
	*salvage = s;
	return LATENTD_OK;
}

void
salvage_close(struct salvage *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < TABLES; i++)
		free(s->lists[i].places);
	walk_close(s->walk);
	free(s);
}

/* ---- records ---- */

/* The first row of an id, from number 0 on; NULL: none. */
static const struct place *
find(const struct salvage *s, enum table table, uint64_t id)
{
	const struct list *list = &s->lists[table];
	size_t low = 0, high = list->n, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (list->places[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < list->n && list->places[low].id == id ? &list->places[low]
							   : NULL;
}

static bool
read_record(struct salvage *s, enum record_kind kind, const struct place *at,
    uint8_t buf[RECORD_MAX_BYTES], struct message_scratch *scratch,
    union record_any *out)
{
	struct reason why;

	if (at->bytes > RECORD_MAX_BYTES) {
		tell(s, "job %llu: a record of %llu bytes",
		    (unsigned long long)at->id, (unsigned long long)at->bytes);
		return false;
	}
	if (!walk_read(s->walk, at->at, buf, (size_t)at->bytes)) {
		tell(s, "job %llu: its record cannot be read",
		    (unsigned long long)at->id);
		return false;
	}
	if (record_decode(kind, buf, (size_t)at->bytes, scratch, out, &why) ==
	    LATENTD_OK)
		return true;
	tell(s, "job %llu: %s", (unsigned long long)at->id, why.text);
	return false;
}

struct reading {
	uint8_t job_buf[RECORD_MAX_BYTES];
	uint8_t state_buf[RECORD_MAX_BYTES];
	struct message_scratch job_scratch;
	struct message_scratch state_scratch;
	struct salvage_job job;
};

/* A job; false: there is nothing to be done with it. */
static bool
read_job(struct salvage *s, const struct place *at, struct reading *r)
{
	const struct place *state = find(s, TABLE_STATES, at->id);
	union record_any any;

	if (!read_record(s, RECORD_JOB, at, r->job_buf, &r->job_scratch, &any))
		return false;
	if (any.job.id != at->id) {
		tell(s, "job %llu: the record of job %llu is in its place",
		    (unsigned long long)at->id, (unsigned long long)any.job.id);
		return false;
	}
	r->job = (struct salvage_job){.job = any.job,
	    .state = {.state = JOB_QUEUED},
	    .has_latent = find(s, TABLE_BODIES, at->id) != NULL};
	if (state != NULL &&
	    read_record(
		s, RECORD_STATE, state, r->state_buf, &r->state_scratch, &any))
		r->job.state = any.state;
	return true;
}

void
salvage_jobs(struct salvage *s,
    void (*on_job)(const struct salvage_job *job, void *arg), void *arg)
{
	const struct list *list = &s->lists[TABLE_JOBS];
	struct reading *r = malloc(sizeof(*r));

	if (r == NULL)
		abort();
	for (size_t i = 0; i < list->n; i++) {
		if (read_job(s, &list->places[i], r))
			on_job(&r->job, arg);
	}
	free(r);
}

/* ---- pieces ---- */

/* Whether there are ${bytes} in pieces 0, 1, ... at ${at}; how many. */
static bool
count_pieces(const struct list *list, const struct place *at, uint64_t bytes,
    size_t *pieces_n)
{
	const struct place *end = list->places + list->n;
	const uint64_t id = at != NULL ? at->id : 0;
	uint64_t sum = 0;

	*pieces_n = 0;
	for (; at != NULL && at < end && at->id == id; at++) {
		if (at->number != *pieces_n)
			return false;
		sum += at->bytes;
		++*pieces_n;
	}
	return sum == bytes;
}

static bool
read_pieces(struct salvage *s, enum table table, uint64_t id, uint64_t bytes,
    uint32_t crc, uint8_t **data)
{
	const char *what = table == TABLE_BODIES ? "latent" : "result";
	const struct place *at = find(s, table, id);
	uint8_t *to;
	size_t n;

	*data = NULL;
	/* Each piece is there, so this is no more than the file has. */
	if (!count_pieces(&s->lists[table], at, bytes, &n)) {
		tell(s, "job %llu: of its %s not all %llu bytes are there",
		    (unsigned long long)id, what, (unsigned long long)bytes);
		return false;
	}
	if ((*data = to = malloc((size_t)bytes + 1)) == NULL) {
		tell(s, "job %llu: no memory for its %s of %llu bytes",
		    (unsigned long long)id, what, (unsigned long long)bytes);
		return false;
	}
	for (size_t i = 0; i < n; to += at[i].bytes, i++) {
		if (!walk_read(s->walk, at[i].at, to, (size_t)at[i].bytes))
			break;
	}
	if (to == *data + bytes && crc32c(0, *data, (size_t)bytes) == crc)
		return true;
	tell(s, "job %llu: its %s of %llu bytes is damaged",
	    (unsigned long long)id, what, (unsigned long long)bytes);
	free(*data);
	*data = NULL;
	return false;
}

bool
salvage_latent(struct salvage *s, const struct salvage_job *j, uint8_t **data)
{
	return read_pieces(s, TABLE_BODIES, j->job.id, j->job.body_bytes,
	    (uint32_t)j->job.body_crc, data);
}

bool
salvage_result(struct salvage *s, const struct salvage_job *j, uint8_t **data)
{
	return read_pieces(s, TABLE_RESULTS, j->job.id, j->state.result_bytes,
	    (uint32_t)j->state.result_crc, data);
}

/* ---- the rest ---- */

static void
look_for_strays(struct salvage *s, enum table table)
{
	const struct list *list = &s->lists[table];

	for (size_t i = 0; i < list->n; i++) {
		uint64_t id = list->places[i].id;

		if (i > 0 && list->places[i - 1].id == id)
			continue;
		if (find(s, TABLE_JOBS, id) == NULL &&
		    find(s, TABLE_ASIDE, id) == NULL)
			tell(s, "table %s has job %llu, which is not there",
			    walk_table_name(table), (unsigned long long)id);
	}
}

void
salvage_rest(struct salvage *s)
{
	const struct list *known = &s->lists[TABLE_KNOWN];
	struct reading *r = malloc(sizeof(*r));
	union record_any any;

	if (r == NULL)
		abort();
	for (size_t i = 0; i < known->n; i++)
		read_record(s, RECORD_KNOWN, &known->places[i], r->job_buf,
		    &r->job_scratch, &any);
	free(r);
	look_for_strays(s, TABLE_STATES);
	look_for_strays(s, TABLE_BODIES);
	look_for_strays(s, TABLE_RESULTS);
}

struct salvage_counts
salvage_counts(const struct salvage *s)
{
	return (struct salvage_counts){.facts = walk_facts(s->walk),
	    .jobs_n = s->lists[TABLE_JOBS].n,
	    .known_n = s->lists[TABLE_KNOWN].n,
	    .aside_n = s->lists[TABLE_ASIDE].n,
	    .format = s->format,
	    .damages_n = s->damages_n};
}
