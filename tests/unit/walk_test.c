/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spools with damage of every kind.  What a reader or a writer makes of them
 * does not matter here as long as it comes to an end without touching memory
 * that is not its own, which the sanitizers see; and a good one is called good.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fuzz.h"
#include "salvage.h"
#include "store_fixture.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE_BYTES 4096u
#define JOBS_N 40u
#define FLIPS_N 1500u
#define CUTS_N 150u
#ifndef WORK_EVERY
#define WORK_EVERY 13u /* it waits for the disk */
#endif

static struct store_dir dir;
static char path[128];
static uint8_t *whole; /* the good file */
static size_t whole_bytes;

/* ---- a spool with some of everything ---- */

static void
add_ended(struct store *s, uint64_t id)
{
	const struct record_state state = {.state = JOB_DONE,
	    .body_gone = true,
	    .result_bytes = 70000,
	    .result_crc = 0};
	uint8_t *data = calloc(70000, 1);
	const struct store_slice slice = {data, 70000};
	struct record_state good = state;
	struct reason why;

	good.result_crc = crc32c(0, data, 70000);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_delete_body(s, id, &why), STORE_OK);
	cr_assert_eq(store_put_result(s, id, &slice, 1, &why), STORE_OK);
	cr_assert_eq(store_put_state(s, id, &good, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	free(data);
}

static void
forget(struct store *s, uint64_t id)
{
	const struct record_known known = {.id = id,
	    .uid = 1000,
	    .producer = {"p", 1},
	    .key = {"k", 1},
	    .acked_at_ms = id};
	struct reason why;

	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_delete_job(s, id, &why), STORE_OK);
	cr_assert_eq(store_put_known(s, &known, &why), STORE_OK);
	cr_assert_eq(store_put_next_id(s, JOBS_N + 1, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
}

static void
fill(struct store *s)
{
	for (uint64_t id = 1; id <= JOBS_N; id++)
		cr_assert_eq(
		    store_add(s, id, 200 + (size_t)id * 40009 % 150000),
		    STORE_OK);
	for (uint64_t id = 1; id <= JOBS_N; id += 4)
		forget(s, id);
	for (uint64_t id = 2; id <= JOBS_N; id += 4)
		add_ended(s, id);
}

static void
setup(void)
{
	struct store *s;
	struct stat st;
	int fd;

	dir = store_dir_make();
	s = store_must_open(&dir, 16 * MIB);
	fill(s);
	store_close(s);
	snprintf(path, sizeof(path), "%s/data.mdb", dir.path);
	cr_assert_eq(stat(path, &st), 0);
	whole_bytes = (size_t)st.st_size;
	whole = malloc(whole_bytes);
	fd = open(path, O_RDONLY);
	cr_assert_eq(read(fd, whole, whole_bytes), (ssize_t)whole_bytes);
	close(fd);
}

static void
teardown(void)
{
	free(whole);
	store_dir_remove(&dir);
}

TestSuite(walk, .init = setup, .fini = teardown, .timeout = 240);

static void
put_file(const uint8_t *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
}

/* ---- what is made of it ---- */

struct found {
	struct salvage *salvage;
	size_t jobs_n;
	size_t whole_n; /* latents and results */
	size_t damages_n;
};

static void
on_damaged(const char *text, void *arg)
{
	struct found *found = arg;

	cr_assert_gt(strlen(text), 5);
	found->damages_n++;
}

static void
on_job(const struct salvage_job *j, void *arg)
{
	struct found *found = arg;
	uint8_t *data;

	found->jobs_n++;
	if (!j->state.body_gone && salvage_latent(found->salvage, j, &data)) {
		found->whole_n++;
		free(data);
	}
	if (j->state.result_bytes > 0 &&
	    salvage_result(found->salvage, j, &data)) {
		found->whole_n++;
		free(data);
	}
}

static enum latentd_err
salvage_all(struct found *found, struct reason *why)
{
	enum latentd_err err;

	*found = (struct found){.jobs_n = 0};
	err = salvage_open(dir.path, on_damaged, found, &found->salvage, why);
	if (err != LATENTD_OK)
		return err;
	salvage_jobs(found->salvage, on_job, found);
	salvage_rest(found->salvage);
	cr_assert_eq(
	    salvage_counts(found->salvage).damages_n, found->damages_n);
	salvage_close(found->salvage);
	return LATENTD_OK;
}

/* As a daemon would: read, and with ${write} change what can be changed. */
static bool
work(bool write)
{
	struct store_seen seen;
	struct store *s;
	struct reason why = {.err = LATENTD_OK};

	if (store_open(dir.path, 16 * MIB, &s, &why) != LATENTD_OK) {
		cr_assert_neq(why.err, LATENTD_OK);
		cr_assert_gt(strlen(why.text), 0);
		return false;
	}
	store_look(s, &seen);
	for (size_t i = 0; write && i < seen.n && i < 6; i++) {
		cr_assert_eq(store_begin(s, &why), STORE_OK);
		if (store_delete_job(s, seen.ids[i], &why) == STORE_OK)
			(void)!store_commit(s, &why);
		else
			store_abort(s);
	}
	for (uint64_t id = 100; write && id < 104; id++)
		(void)!store_add(s, id, 90000);
	store_look(s, &seen);
	store_close(s);
	return true;
}

Test(walk, a_good_spool_is_called_good)
{
	struct found found;
	struct reason why;

	cr_assert_eq(salvage_all(&found, &why), LATENTD_OK, "%s", why.text);
	cr_assert_eq(found.damages_n, 0);
	cr_assert_eq(found.jobs_n, JOBS_N / 4 * 3);
	cr_assert_eq(found.whole_n, JOBS_N / 4 * 3);
}

Test(walk, an_empty_spool_and_one_that_was_emptied_are_good)
{
	struct store_dir other = store_dir_make();
	struct store *s = store_must_open(&other, 16 * MIB);
	struct store_dir kept = dir;
	struct found found;
	struct reason why;

	store_close(s);
	dir = other;
	cr_assert_eq(salvage_all(&found, &why), LATENTD_OK, "%s", why.text);
	cr_assert_eq(found.damages_n + found.jobs_n, 0);
	s = store_must_open(&other, 16 * MIB);
	fill(s);
	for (uint64_t id = 1; id <= JOBS_N; id++)
		forget(s, id);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_trim_known(s, UINT64_MAX, 0, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_close(s);
	cr_assert_eq(salvage_all(&found, &why), LATENTD_OK, "%s", why.text);
	cr_assert_eq(found.damages_n + found.jobs_n, 0);
	dir = kept;
	store_dir_remove(&other);
}

Test(walk, every_state_of_a_busy_spool_is_good)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	uint64_t next = 1000, oldest = 1000;
	struct found found;
	struct reason why;

	for (unsigned round = 0; round < 60; round++) {
		for (unsigned k = 0; k < 5; k++)
			if (store_add(s, next, next * 7919 % 400000) ==
			    STORE_OK)
				next++;
		if (next - oldest > 30) {
			for (unsigned k = 0; k < 6; k++)
				forget(s, oldest++);
		}
		store_close(s);
		cr_assert_eq(salvage_all(&found, &why), LATENTD_OK);
		cr_assert_eq(found.damages_n, 0, "round %u", round);
		s = store_must_open(&dir, 16 * MIB);
	}
	store_close(s);
}

/* Where a page that LMDB knows by its head begins. */
static size_t
page_of(struct fuzz *random, unsigned least_flags, unsigned most_flags)
{
	for (;;) {
		size_t page =
		    2 + fuzz_below(random, whole_bytes / PAGE_BYTES - 2);
		const uint8_t *at = whole + page * PAGE_BYTES;
		uint64_t number;

		memcpy(&number, at, sizeof(number));
		if (number == page && at[10] >= least_flags &&
		    at[10] <= most_flags)
			return page * PAGE_BYTES;
	}
}

/* The bytes that hold all together are few, so they are sought out: the roots,
 * the heads of pages, the offsets of rows, and the rows. */
static size_t
place_of(struct fuzz *random, unsigned i)
{
	switch (i % 5) {
	case 0:
		return fuzz_below(random, 2) * PAGE_BYTES +
		    fuzz_below(random, 152);
	case 1:
		return page_of(random, 1, 4) + fuzz_below(random, 16);
	case 2:
		return page_of(random, 1, 2) + fuzz_below(random, 48);
	case 3:
		return page_of(random, 1, 2) + fuzz_below(random, PAGE_BYTES);
	default:
		return fuzz_below(random, whole_bytes);
	}
}

Test(walk, a_flipped_bit_is_told_or_does_no_harm)
{
	struct fuzz random = {.state = 20261123};
	size_t told_n = 0, refused_n = 0;
	struct found found;
	struct reason why;

	for (unsigned i = 0; i < FLIPS_N; i++) {
		size_t at = place_of(&random, i);
		uint8_t before = whole[at];

		whole[at] ^= (uint8_t)(1u << fuzz_below(&random, 8));
		put_file(whole, whole_bytes);
		if (salvage_all(&found, &why) != LATENTD_OK ||
		    found.damages_n > 0)
			told_n++;
		refused_n += !work(i % WORK_EVERY == 0);
		whole[at] = before;
	}
	cr_assert_gt(told_n, FLIPS_N / 4, "%zu", told_n);
	cr_assert_gt(refused_n, FLIPS_N / 8, "%zu", refused_n);
	cr_assert_lt(refused_n, FLIPS_N);
}

Test(walk, a_page_of_noise_is_told)
{
	struct fuzz random = {.state = 7};
	uint8_t *kept = malloc(PAGE_BYTES);
	struct found found;
	struct reason why;

	for (size_t at = 0; at + PAGE_BYTES <= whole_bytes;
	     at += 7 * (size_t)PAGE_BYTES) {
		memcpy(kept, whole + at, PAGE_BYTES);
		for (size_t i = 0; i < PAGE_BYTES; i++)
			whole[at + i] = (uint8_t)fuzz_next(&random);
		put_file(whole, whole_bytes);
		salvage_all(&found, &why);
		work(true);
		memcpy(whole + at, kept, PAGE_BYTES);
	}
	free(kept);
}

Test(walk, a_file_cut_anywhere_is_refused_and_gives_what_is_left)
{
	struct fuzz random = {.state = 11};
	size_t most_n = 0;
	struct found found;
	struct reason why;

	for (unsigned i = 0; i < CUTS_N; i++) {
		size_t bytes = fuzz_next(&random) % whole_bytes;

		if (i % 3 == 0)
			bytes = bytes / PAGE_BYTES * PAGE_BYTES;
		put_file(whole, bytes);
		if (salvage_all(&found, &why) == LATENTD_OK) {
			cr_assert_gt(found.damages_n, 0, "%zu bytes", bytes);
			most_n =
			    found.whole_n > most_n ? found.whole_n : most_n;
		}
		put_file(whole, bytes);
		cr_assert(!work(true), "%zu bytes", bytes);
	}
	cr_assert_gt(most_n, 0);
}

Test(walk, a_spool_in_use_is_refused)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct found found;
	struct reason why;

	cr_assert_eq(salvage_all(&found, &why), LATENTD_ERR_BUSY);
	cr_assert(strstr(why.text, "in use") != NULL);
	store_close(s);
	cr_assert_eq(salvage_all(&found, &why), LATENTD_OK);
}
