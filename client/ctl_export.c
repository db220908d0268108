/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a spool becomes files that need no daemon.  Their names are made
 * of the jobs' numbers and nothing else, and they are readable for their owner
 * only, as the spool is.  All that is needed to submit a latent again is in its
 * metadata, under latentd.*; its producer's own entries keep their names.
 */
#include "ctl_export.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "safetensors.h"
#include "salvage.h"
#include "tensor.h"

#define MANIFEST "manifest.jsonl"
/* latentd's own entries, and those of a producer. */
#define OWN_MAX 24u
#define ENTRIES_MAX (OWN_MAX + LATENTD_MAX_METADATA_BYTES / 6)
#define OWN_PREFIX "latentd."

struct export
{
	const struct ctl *ctl;
	struct salvage *salvage;
	char *manifest;
	size_t manifest_bytes;
	FILE *lines; /* into manifest */
	size_t latents_n;
	size_t results_n;
	size_t failed_n;
};

/* ---- what is said of a job ---- */

static json_t *
text_json(struct text t)
{
	json_t *s = json_stringn(t.bytes > 0 ? t.at : "", t.bytes);

	/* What is no UTF-8 does not get into a spool. */
	return s != NULL ? s : json_string("");
}

static json_t *
number_json(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

/* The job as it would be submitted, and what became of it. */
static json_t *
about(const struct salvage_job *j)
{
	const struct record_job *r = &j->job;
	json_t *o = json_object();

	json_object_set_new(o, "id", number_json(r->id));
	json_object_set_new(o, "producer", text_json(r->producer));
	json_object_set_new(o, "key", text_json(r->key));
	json_object_set_new(o, "task", json_string(task_name(r->task)));
	json_object_set_new(o, "model", text_json(r->model));
	json_object_set_new(o, "space",
	    json_string(r->space == LATENTD_SPACE_VAE ? "vae" : "model"));
	json_object_set_new(o, "output", json_string(output_name(r->output)));
	json_object_set_new(
	    o, "priority", json_string(priority_name(r->priority)));
	if (r->width_px > 0) {
		json_object_set_new(o, "width_px", number_json(r->width_px));
		json_object_set_new(o, "height_px", number_json(r->height_px));
	}
	json_object_set_new(
	    o, "submitted_at_ms", number_json(r->submitted_at_ms));
	if (r->deadline_ms > 0) {
		json_object_set_new(
		    o, "deadline_ms", number_json(r->deadline_ms));
		json_object_set_new(
		    o, "deadline_at_ms", number_json(r->deadline_at_ms));
	}
	json_object_set_new(
	    o, "state", json_string(job_state_name(j->state.state)));
	json_object_set_new(o, "attempts", number_json(j->state.attempts));
	if (j->state.message.bytes > 0)
		json_object_set_new(o, "message", text_json(j->state.message));
	return o;
}

static void
note(struct export *e, const struct salvage_job *j, const char *what,
    const char *file, size_t part)
{
	json_t *line = json_object(), *job = about(j);

	json_object_set_new(line, "file", json_string(file));
	json_object_set_new(line, "what", json_string(what));
	json_object_set_new(line, "part", number_json(part));
	json_object_update(line, job);
	json_decref(job);
	json_dumpf(line, e->lines, JSON_COMPACT | JSON_PRESERVE_ORDER);
	fputc('\n', e->lines);
	json_decref(line);
}

/* ---- files ---- */

static bool
write_file(struct export *e, const char *name, const struct files_piece *pieces,
    size_t pieces_n)
{
	struct reason why;

	if (files_write(e->ctl->out, name, pieces, pieces_n, e->ctl->force,
		&why) == LATENTD_OK) {
		if (!e->ctl->quiet && !e->ctl->json)
			printf("%s/%s\n", e->ctl->out, name);
		return true;
	}
	ctl_error("%s", why.text);
	e->failed_n++;
	return false;
}

/* latin-1, as PNG has it, in UTF-8. */
static char *
utf8_of(struct text t)
{
	char *to = malloc(2 * t.bytes + 1), *at = to;

	if (to == NULL)
		abort();
	for (size_t i = 0; i < t.bytes; i++) {
		uint8_t c = (uint8_t)t.at[i];

		if (c < 0x80) {
			*at++ = (char)c;
		} else {
			*at++ = (char)(uint8_t)(0xc0 | c >> 6);
			*at++ = (char)(uint8_t)(0x80 | (c & 0x3f));
		}
	}
	*at = '\0';
	return to;
}

/* Add a producer's own metadata to ${o}; none can pass for latentd's. */
static void
add_metadata(json_t *o, const uint8_t *at, size_t bytes)
{
	const uint8_t *end = at + bytes;
	struct text key, value;
	char *name;

	while (at < end && json_object_size(o) < ENTRIES_MAX) {
		if (metadata_next(&at, end, &key, &value, NULL) != LATENTD_OK)
			return;
		name = utf8_of(key);
		if (strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) != 0)
			json_object_set_new(o, name, text_json(value));
		free(name);
	}
}

/* What is in the metadata of a latent's file; strings only. */
static json_t *
file_metadata(const struct salvage_job *j, const uint8_t *data)
{
	const size_t payload_bytes =
	    (size_t)(j->job.body_bytes - j->job.metadata_bytes);
	json_t *o = json_object(), *own = about(j), *value;
	char name[64], number[24];
	const char *key;

	json_object_set_new(o, OWN_PREFIX "software",
	    json_string("latentctl " LATENTD_VERSION));
	json_object_foreach(own, key, value)
	{
		snprintf(name, sizeof(name), OWN_PREFIX "%s", key);
		snprintf(number, sizeof(number), "%" PRId64,
		    (int64_t)json_integer_value(value));
		json_object_set_new(o, name,
		    json_is_string(value)
			? json_string(json_string_value(value))
			: json_string(number));
	}
	json_decref(own);
	add_metadata(o, data + payload_bytes, (size_t)j->job.metadata_bytes);
	return o;
}

static char *
make_head(const char *tensor_name, const struct latentd_tensor *tensor,
    const json_t *metadata, size_t *bytes)
{
	const size_t n = json_object_size(metadata);
	const char **pairs = calloc(2 * n + 1, sizeof(char *)), *key;
	json_t *value;
	size_t i = 0;
	char *head;

	if (pairs == NULL)
		abort();
	/* The macro wants an object that it could change. */
	json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
	{
		pairs[i++] = key;
		pairs[i++] = json_string_value(value);
	}
	head = safetensors_head(tensor_name, tensor, pairs, n, bytes);
	free(pairs);
	return head;
}

static bool
write_tensor(struct export *e, const char *file, const char *tensor_name,
    const struct latentd_tensor *tensor, const json_t *metadata,
    const uint8_t *data, size_t bytes)
{
	struct files_piece pieces[2] = {{NULL, 0}, {data, bytes}};
	uint64_t expected;
	char *head = NULL;
	bool good;

	if (tensor_bytes(tensor, &expected, NULL) == LATENTD_OK &&
	    expected == bytes)
		head =
		    make_head(tensor_name, tensor, metadata, &pieces[0].bytes);
	if (head == NULL) {
		ctl_error("%s: %zu bytes do not fit their shape", file, bytes);
		e->failed_n++;
		return false;
	}
	pieces[0].data = head;
	good = write_file(e, file, pieces, 2);
	free(head);
	return good;
}

/* ---- jobs ---- */

static const char *
image_extension(uint64_t kind)
{
	return kind == IMAGE_PNG ? "png"
	    : kind == IMAGE_JPEG ? "jpg"
	    : kind == IMAGE_MP4  ? "mp4"
				 : "bin";
}

static void
export_latent(struct export *e, const struct salvage_job *j)
{
	const struct record_job *r = &j->job;
	const bool image = r->tensor.ndim == 0;
	char file[64];
	uint8_t *data;
	struct files_piece piece;
	json_t *metadata;
	bool good;

	if (r->metadata_bytes > r->body_bytes ||
	    !salvage_latent(e->salvage, j, &data)) {
		e->failed_n++;
		return;
	}
	piece = (struct files_piece){
	    data, (size_t)(r->body_bytes - r->metadata_bytes)};
	snprintf(file, sizeof(file), "job-%" PRIu64 ".%s", r->id,
	    image ? image_extension(r->image_kind) : "safetensors");
	if (image) {
		good = write_file(e, file, &piece, 1);
	} else {
		metadata = file_metadata(j, data);
		good = write_tensor(e, file,
		    r->task == LATENTD_ENCODE ? "image" : "latent", &r->tensor,
		    metadata, data, piece.bytes);
		json_decref(metadata);
	}
	if (good) {
		note(e, j, "latent", file, 0);
		e->latents_n++;
	}
	free(data);
}

static void
export_part(struct export *e, const struct salvage_job *j, size_t i, size_t n,
    const uint8_t *data, size_t bytes)
{
	const struct files_piece piece = {data, bytes};
	const bool tensor = j->state.tensor.ndim > 0;
	const char *extension =
	    tensor ? "safetensors" : image_extension(image_sniff(data, bytes));
	json_t *metadata;
	char file[64];
	bool good;

	if (n == 1)
		snprintf(file, sizeof(file), "result-%" PRIu64 ".%s", j->job.id,
		    extension);
	else
		snprintf(file, sizeof(file), "result-%" PRIu64 "-%zu.%s",
		    j->job.id, i, extension);
	if (tensor) {
		metadata = json_pack("{s:s}", OWN_PREFIX "software",
		    "latentctl " LATENTD_VERSION);
		if (j->job.output == LATENTD_OUT_LATENT) {
			json_object_set_new(metadata, OWN_PREFIX "model",
			    text_json(j->job.model));
			json_object_set_new(metadata, OWN_PREFIX "space",
			    json_string(j->job.space == LATENTD_SPACE_VAE
				    ? "vae"
				    : "model"));
		}
		good = write_tensor(e, file,
		    j->job.output == LATENTD_OUT_LATENT ? "latent" : "image",
		    &j->state.tensor, metadata, data, bytes);
		json_decref(metadata);
	} else {
		good = write_file(e, file, &piece, 1);
	}
	if (good)
		note(e, j, "result", file, i);
	e->results_n += good;
}

static void
export_result(struct export *e, const struct salvage_job *j)
{
	const struct record_state *s = &j->state;
	const bool tensor = s->tensor.ndim > 0;
	uint64_t at = 0;
	uint8_t *data;

	if (!salvage_result(e->salvage, j, &data)) {
		e->failed_n++;
		return;
	}
	if (tensor || s->part_bytes_n == 0) {
		export_part(e, j, 0, 1, data, (size_t)s->result_bytes);
		free(data);
		return;
	}
	for (size_t i = 0; i < s->part_bytes_n; i++) {
		if (s->part_bytes[i] > s->result_bytes - at) {
			ctl_error("job %" PRIu64 ": its result has no part %zu",
			    j->job.id, i);
			e->failed_n++;
			break;
		}
		export_part(e, j, i, s->part_bytes_n, data + at,
		    (size_t)s->part_bytes[i]);
		at += s->part_bytes[i];
	}
	free(data);
}

static void
on_job(const struct salvage_job *j, void *arg)
{
	if (j->state.result_bytes > 0)
		export_result(arg, j);
	else if (!j->state.body_gone)
		export_latent(arg, j);
}

/* ---- the whole ---- */

static void
write_manifest(struct export *e)
{
	struct files_piece piece;

	if (fclose(e->lines) != 0) {
		ctl_error("no memory for " MANIFEST);
		e->failed_n++;
	} else {
		piece = (struct files_piece){e->manifest, e->manifest_bytes};
		write_file(e, MANIFEST, &piece, 1);
	}
	free(e->manifest);
}

int
ctl_export(const struct ctl *ctl, struct salvage *salvage)
{
	struct export e = {.ctl = ctl, .salvage = salvage};
	struct reason why;

	umask(077);
	if (files_make_directory(ctl->out, &why) != LATENTD_OK) {
		ctl_error("%s", why.text);
		return CTL_FAILED;
	}
	if (!ctl->force && files_exists(ctl->out, MANIFEST)) {
		ctl_error("%s/" MANIFEST " exists; --force replaces it and "
			  "what it lists",
		    ctl->out);
		return CTL_FAILED;
	}
	if ((e.lines = open_memstream(&e.manifest, &e.manifest_bytes)) == NULL)
		abort();
	salvage_jobs(salvage, on_job, &e);
	write_manifest(&e);
	if (ctl->json)
		printf("{\"latents\":%zu,\"results\":%zu,\"failed\":%zu,"
		       "\"damages\":%ju}\n",
		    e.latents_n, e.results_n, e.failed_n,
		    (uintmax_t)salvage_counts(salvage).damages_n);
	else
		ctl_note(ctl, "%zu latents and %zu results in %s", e.latents_n,
		    e.results_n, ctl->out);
	return e.failed_n == 0 && salvage_counts(salvage).damages_n == 0
	    ? CTL_DONE
	    : CTL_FAILED;
}
