/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <lmdb.h>

#include "store_fixture.h"

#define MIB (UINT64_C(1) << 20)

static struct store_dir dir;

static void
setup(void)
{
	dir = store_dir_make();
}

static void
teardown(void)
{
	store_dir_remove(&dir);
}

TestSuite(store, .init = setup, .fini = teardown);

static enum latentd_err
read_body(struct store *s, uint64_t id, size_t bytes, uint32_t crc)
{
	uint8_t *buf = malloc(bytes + 1);
	struct reason why;
	enum latentd_err err = store_read_body(s, id, buf, bytes, crc, &why);

	free(buf);
	return err;
}

static uint32_t
crc_of(uint64_t id, size_t bytes)
{
	uint8_t *buf = malloc(bytes + 1);
	uint32_t crc;

	store_fill(id, buf, bytes);
	crc = crc32c(0, buf, bytes);
	free(buf);
	return crc;
}

Test(store, a_new_spool_has_an_instance_that_lasts)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct store_facts before, after;
	struct reason why;

	cr_assert_eq(store_read_facts(s, &before, &why), LATENTD_OK);
	cr_assert_eq(before.format, SPOOL_FORMAT);
	cr_assert_neq(before.instance, 0);
	cr_assert_eq(before.size_bytes, 16 * MIB);
	store_close(s);
	s = store_must_open(&dir, 32 * MIB);
	cr_assert_eq(store_read_facts(s, &after, &why), LATENTD_OK);
	cr_assert_eq(after.instance, before.instance);
	cr_assert_eq(after.size_bytes, 32 * MIB);
	store_close(s);
}

Test(store, jobs_come_back_in_the_order_of_ids_with_their_bodies)
{
	static const size_t sizes[] = {0, 1, STORE_PIECE_BYTES - 1,
	    STORE_PIECE_BYTES, STORE_PIECE_BYTES + 1, 131072,
	    3 * STORE_PIECE_BYTES};
	static const uint64_t ids[] = {300, 2, 255, 256, 1, 70000, 9};
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct store_seen seen;

	for (size_t i = 0; i < 7; i++)
		cr_assert_eq(store_add(s, ids[i], sizes[i]), STORE_OK);
	store_close(s);
	s = store_must_open(&dir, 16 * MIB);
	store_look(s, &seen);
	cr_assert_eq(seen.n, 7);
	cr_assert_eq(seen.damaged_n, 0);
	for (size_t i = 1; i < seen.n; i++)
		cr_assert_lt(seen.ids[i - 1], seen.ids[i]);
	cr_assert_eq(seen.last.state, JOB_QUEUED);
	for (size_t i = 0; i < 7; i++) {
		uint32_t crc = crc_of(ids[i], sizes[i]);

		cr_assert_eq(read_body(s, ids[i], sizes[i], crc), LATENTD_OK);
		cr_assert_eq(
		    read_body(s, ids[i], sizes[i], crc ^ 1), LATENTD_ERR_IO);
		cr_assert_eq(
		    read_body(s, ids[i], sizes[i] + 1, crc), LATENTD_ERR_IO);
	}
	cr_assert_eq(read_body(s, 77, 5, 0), LATENTD_ERR_IO);
	store_close(s);
}

Test(store, what_is_aborted_was_never_there)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct record_job job = store_sample_job(5, 0);
	struct store_seen seen;
	struct reason why;

	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_put_job(s, &job, &why), STORE_OK);
	store_abort(s);
	store_look(s, &seen);
	cr_assert_eq(seen.n, 0);
	store_close(s);
}

Test(store, a_deleted_job_takes_all_its_pieces_along)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	const struct record_state state = {.state = JOB_DONE};
	const struct store_slice result = {"picture", 7};
	struct store_facts empty, full, after;
	struct store_seen seen;
	struct reason why;

	store_read_facts(s, &empty, &why);
	for (uint64_t id = 1; id <= 3; id++)
		cr_assert_eq(store_add(s, id, 500000), STORE_OK);
	store_read_facts(s, &full, &why);
	cr_assert_gt(full.used_bytes, empty.used_bytes + 1500000);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_put_result(s, 2, &result, 1, &why), STORE_OK);
	cr_assert_eq(store_put_state(s, 2, &state, &why), STORE_OK);
	cr_assert_eq(store_delete_job(s, 2, &why), STORE_OK);
	cr_assert_eq(store_delete_job(s, 2, &why), STORE_OK);
	cr_assert_eq(store_delete_job(s, 99, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_look(s, &seen);
	cr_assert_eq(seen.n, 2);
	cr_assert_eq(seen.ids[1], 3);
	cr_assert_eq(
	    read_body(s, 2, 500000, crc_of(2, 500000)), LATENTD_ERR_IO);
	cr_assert_eq(read_body(s, 3, 500000, crc_of(3, 500000)), LATENTD_OK);
	store_read_facts(s, &after, &why);
	cr_assert_lt(after.used_bytes, full.used_bytes - 450000);
	store_close(s);
}

Test(store, a_shorter_body_leaves_no_piece_of_the_longer_one)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct store_facts facts;
	struct reason why;

	cr_assert_eq(store_add(s, 1, 8 * MIB), STORE_OK);
	cr_assert_eq(store_add(s, 1, 100), STORE_OK);
	cr_assert_eq(read_body(s, 1, 100, crc_of(1, 100)), LATENTD_OK);
	store_read_facts(s, &facts, &why);
	cr_assert_lt(facts.used_bytes, MIB);
	store_close(s);
}

Test(store, the_map_fills_and_is_used_again)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	uint64_t next = 1, oldest = 1, rounds = 0;
	struct reason why;

	/* Sizes that leave gaps of all kinds. */
	while (rounds < 200) {
		enum store_result result =
		    store_add(s, next, 20000 + next * 70001 % 900000);

		if (result == STORE_OK) {
			next++;
			continue;
		}
		cr_assert_eq(result, STORE_FULL);
		cr_assert_gt(
		    next - oldest, 4, "only %d jobs fit", (int)(next - oldest));
		for (int k = 0; k < 3; k++) {
			cr_assert_eq(store_begin(s, &why), STORE_OK);
			cr_assert_eq(
			    store_delete_job(s, oldest++, &why), STORE_OK);
			cr_assert_eq(
			    store_commit(s, &why), STORE_OK, "%s", why.text);
		}
		rounds++;
	}
	store_close(s);
}

Test(store, a_second_process_is_refused_until_the_first_is_killed)
{
	struct store *s = NULL;
	struct reason why;
	int fds[2], status;
	char c;
	pid_t pid;

	cr_assert_eq(pipe(fds), 0);
	if ((pid = fork()) == 0) {
		s = store_must_open(&dir, 16 * MIB);
		store_add(s, 1, 1000);
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(fds[0], &c, 1), 1);
	cr_assert_eq(
	    store_open(dir.path, 16 * MIB, &s, &why), LATENTD_ERR_BUSY);
	cr_assert(strstr(why.text, "in use") != NULL, "%s", why.text);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	s = store_must_open(&dir, 16 * MIB);
	cr_assert_eq(read_body(s, 1, 1000, crc_of(1, 1000)), LATENTD_OK);
	store_close(s);
}

/* Let ${change} loose on the tables, behind the store's back. */
static void
meddle(const char *table, const void *key, size_t key_bytes, const void *data,
    size_t bytes)
{
	MDB_val k = {key_bytes, (void *)(uintptr_t)key};
	MDB_val v = {bytes, (void *)(uintptr_t)data};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	cr_assert_eq(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 8);
	cr_assert_eq(mdb_env_open(env, dir.path, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, table, 0, &dbi), 0);
	cr_assert_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

Test(store, a_newer_format_is_refused)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct reason why;

	store_close(s);
	meddle("meta", "format", 6, "\2\0\0\0", 4);
	cr_assert_eq(
	    store_open(dir.path, 16 * MIB, &s, &why), LATENTD_ERR_VERSION);
	cr_assert(strstr(why.text, "format 2") != NULL, "%s", why.text);
	cr_assert(strstr(why.text, dir.path) != NULL, "%s", why.text);
}

Test(store, damaged_records_are_told_and_set_aside)
{
	static const uint8_t id2[] = {0, 0, 0, 0, 0, 0, 0, 2};
	static const uint8_t id3[] = {0, 0, 0, 0, 0, 0, 0, 3};
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct store_facts facts;
	struct store_seen seen;
	struct reason why;

	for (uint64_t id = 1; id <= 4; id++)
		cr_assert_eq(store_add(s, id, 1000), STORE_OK);
	store_close(s);
	meddle("jobs", id2, 8, "nonsense", 8);
	meddle("states", id3, 8, "nonsense", 8);
	s = store_must_open(&dir, 16 * MIB);
	store_look(s, &seen);
	/* 3 has its latent still, and so can be done again. */
	cr_assert_eq(seen.n, 3);
	cr_assert_eq(seen.damaged_n, 1);
	cr_assert_eq(seen.damaged[0], 2);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_set_aside(s, 2, &why), STORE_OK);
	cr_assert_eq(store_delete_body(s, 3, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_look(s, &seen);
	cr_assert_eq(seen.n, 2);
	cr_assert_eq(seen.damaged_n, 1);
	cr_assert_eq(seen.damaged[0], 3);
	cr_assert_eq(store_read_facts(s, &facts, &why), LATENTD_OK);
	cr_assert_eq(facts.aside_n, 1);
	store_close(s);
}

static void
on_known(const struct record_known *known, void *arg)
{
	uint64_t *sum = arg;

	*sum = *sum * 10 + known->id;
}

Test(store, keys_come_back_oldest_first_and_are_trimmed)
{
	struct store *s = store_must_open(&dir, 16 * MIB);
	uint64_t sum = 0;
	struct reason why;

	cr_assert_eq(store_begin(s, &why), STORE_OK);
	for (uint64_t id = 1; id <= 5; id++) {
		const struct record_known known = {.id = id,
		    .producer = {"p", 1},
		    .key = {"k", 1},
		    .acked_at_ms = 1000 - id};

		cr_assert_eq(store_put_known(s, &known, &why), STORE_OK);
	}
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_read_known(s, on_known, &sum, &why);
	cr_assert_eq(sum, 54321);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	cr_assert_eq(store_trim_known(s, 996, 3, &why), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	sum = 0;
	store_read_known(s, on_known, &sum, &why);
	cr_assert_eq(sum, 321);
	store_close(s);
}

Test(store, a_file_that_is_cut_or_gone_is_refused)
{
	char path[128];
	struct store *s = store_must_open(&dir, 16 * MIB);
	struct reason why;
	struct stat st;

	cr_assert_eq(store_add(s, 1, 300000), STORE_OK);
	store_close(s);
	snprintf(path, sizeof(path), "%s/data.mdb", dir.path);
	cr_assert_eq(stat(path, &st), 0);
	for (off_t bytes = st.st_size - 1; bytes >= 0; bytes -= 30001) {
		cr_assert_eq(truncate(path, bytes), 0);
		cr_assert_eq(store_open(dir.path, 16 * MIB, &s, &why),
		    LATENTD_ERR_IO, "%lld bytes", (long long)bytes);
		cr_assert(strstr(why.text, dir.path) != NULL);
	}
	cr_assert_eq(truncate(path, 0), 0);
	cr_assert_eq(store_open(dir.path, 16 * MIB, &s, &why), LATENTD_ERR_IO);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(store_open(dir.path, 16 * MIB, &s, &why), LATENTD_ERR_IO);
}

Test(store, a_file_that_is_something_else_is_refused)
{
	char path[128];
	struct store *s;
	struct reason why;
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", dir.path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(write(fd, "no database here", 16), 16);
	close(fd);
	cr_assert_eq(store_open(dir.path, 16 * MIB, &s, &why), LATENTD_ERR_IO);
}
