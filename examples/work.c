/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dull half of the examples.  A safetensors file is a u64 length, that
 * many bytes of JSON, and the tensors' bytes; `latentctl encode` writes one
 * tensor a file, and the first one is taken here.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "work.h"

#define MAX_FILE_BYTES (256u << 20)

double
work_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static uint8_t *
read_file(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	long end;

	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0 ||
	    end > (long)MAX_FILE_BYTES || fseek(file, 0, SEEK_SET) != 0)
		goto close_file;
	*bytes = (size_t)end;
	data = malloc(*bytes + 1);
	if (data != NULL && fread(data, 1, *bytes, file) != *bytes) {
		free(data);
		data = NULL;
	}
close_file:
	fclose(file);
	return data;
}

static enum latentd_dtype
dtype_of(const char *name)
{
	if (name == NULL)
		return LATENTD_DTYPE_NONE;
	if (strcmp(name, "F16") == 0)
		return LATENTD_F16;
	if (strcmp(name, "BF16") == 0)
		return LATENTD_BF16;
	if (strcmp(name, "F32") == 0)
		return LATENTD_F32;
	return LATENTD_DTYPE_NONE;
}

/* Fill ${latent} from the JSON ${entry} of a file whose tensors are ${data}. */
static bool
read_entry(struct latent *latent, const json_t *entry, const uint8_t *data,
    size_t bytes)
{
	const json_t *shape = json_object_get(entry, "shape");
	const json_t *range = json_object_get(entry, "data_offsets");
	json_int_t from = json_integer_value(json_array_get(range, 0));
	json_int_t to = json_integer_value(json_array_get(range, 1));
	size_t i;

	latent->tensor.dtype =
	    dtype_of(json_string_value(json_object_get(entry, "dtype")));
	latent->tensor.ndim = (uint32_t)json_array_size(shape);
	if (latent->tensor.dtype == LATENTD_DTYPE_NONE ||
	    latent->tensor.ndim == 0 ||
	    latent->tensor.ndim > LATENTD_MAX_NDIM || from < 0 || to <= from ||
	    (uint64_t)to > bytes)
		return false;
	for (i = 0; i < latent->tensor.ndim; i++)
		latent->tensor.shape[i] =
		    (uint64_t)json_integer_value(json_array_get(shape, i));
	latent->data_bytes = (size_t)(to - from);
	latent->data = malloc(latent->data_bytes);
	if (latent->data == NULL)
		return false;
	memcpy(latent->data, data + from, latent->data_bytes);
	return true;
}

static bool
read_latent(struct latent *latent, const char *path)
{
	size_t bytes = 0;
	uint8_t *file = read_file(path, &bytes);
	uint64_t header = 0;
	json_t *root = NULL;
	json_t *entry;
	const char *key;
	bool found = false;
	int i;

	if (file == NULL || bytes < 8)
		goto free_file;
	for (i = 7; i >= 0; i--)
		header = header << 8 | file[i];
	if (header > bytes - 8)
		goto free_file;
	root = json_loadb((char *)file + 8, (size_t)header, 0, NULL);
	json_object_foreach(root, key, entry)
	{
		if (strcmp(key, "__metadata__") == 0)
			continue;
		found = read_entry(latent, entry, file + 8 + header,
		    bytes - 8 - (size_t)header);
		break;
	}
free_file:
	json_decref(root);
	free(file);
	if (!found)
		fprintf(
		    stderr, "%s: not a readable safetensors latent\n", path);
	return found;
}

static int
add_latent(struct work *work, char *argument)
{
	char *path = strchr(argument, '=');

	if (path == NULL || work->latents_n == WORK_MAX_LATENTS) {
		fprintf(stderr, "%s: expected MODEL=FILE, %d at the most\n",
		    argument, WORK_MAX_LATENTS);
		return -1;
	}
	*path = '\0';
	work->latents[work->latents_n].model = argument;
	if (!read_latent(&work->latents[work->latents_n], path + 1))
		return -1;
	work->latents_n++;
	return 0;
}

/* Set ${*n} to the number ${text} in 0..${most}. */
static int
set_number(
    unsigned long *n, const char *option, const char *text, unsigned long most)
{
	char *end;

	errno = 0;
	*n = strtoul(text, &end, 10);
	if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' &&
	    *n <= most)
		return 0;
	fprintf(
	    stderr, "%s %s: expected a number up to %lu\n", option, text, most);
	return -1;
}

static int
set_option(struct work *work, const char *option, const char *value)
{
	unsigned long n;

	if (value == NULL) {
		fprintf(stderr, "%s needs a value\n", option);
		return -1;
	}
	if (strcmp(option, "--url") == 0) {
		work->url = value;
	} else if (strcmp(option, "--name") == 0) {
		work->name = value;
	} else if (strcmp(option, "--out") == 0) {
		work->out = value;
	} else if (strcmp(option, "--generate-ms") == 0) {
		if (set_number(&n, option, value, 3600000) != 0)
			return -1;
		work->generate_ms = (uint32_t)n;
	} else if (strcmp(option, "--jobs") == 0) {
		if (set_number(&n, option, value, WORK_MAX_JOBS) != 0)
			return -1;
		work->jobs_n = n;
	} else {
		fprintf(stderr, "there is no option %s\n", option);
		return -1;
	}
	return 0;
}

int
work_init(struct work *work, int argc, char **argv)
{
	int i;

	memset(work, 0, sizeof(*work));
	for (i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) != 0) {
			if (add_latent(work, argv[i]) != 0)
				return -1;
		} else {
			if (set_option(work, argv[i], argv[i + 1]) != 0)
				return -1;
			i++;
		}
	}
	if (work->url == NULL || work->name == NULL || work->out == NULL ||
	    work->latents_n == 0) {
		fprintf(stderr,
		    "usage: %s --url URL --name NAME --out DIR "
		    "[--generate-ms N] [--jobs N]\n"
		    "           MODEL=FILE.safetensors...\n",
		    argv[0]);
		return -1;
	}
	if (work->jobs_n == 0)
		work->jobs_n = work->latents_n;
	work->push_ms = calloc(work->jobs_n, sizeof(*work->push_ms));
	return work->push_ms == NULL ? -1 : 0;
}

void
work_fini(struct work *work)
{
	size_t i;

	for (i = 0; i < work->latents_n; i++)
		free(work->latents[i].data);
	free(work->push_ms);
}

const struct latent *
work_latent(const struct work *work, size_t i)
{
	return &work->latents[i % work->latents_n];
}

int
work_save(const struct work *work, size_t i, const char *extension,
    const void *data, size_t bytes)
{
	char path[4096];
	FILE *file;
	int n = snprintf(path, sizeof(path), "%s/%s-%02zu-%s.%s", work->out,
	    work->name, i + 1, work_latent(work, i)->model, extension);
	int failed;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	file = fopen(path, "wb");
	failed = file == NULL || fwrite(data, 1, bytes, file) != bytes;
	if (file != NULL && fclose(file) != 0)
		failed = 1;
	if (failed)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return failed ? -1 : 0;
}

static int
compare(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

void
work_report(struct work *work, size_t failed, double wall_ms)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < work->jobs_n; i++)
		sum += work->push_ms[i];
	qsort(work->push_ms, work->jobs_n, sizeof(*work->push_ms), compare);
	printf("{\"name\": \"%s\", \"jobs\": %zu, \"failed\": %zu, "
	       "\"push_ms_sum\": %.3f, \"push_ms_median\": %.3f, "
	       "\"push_ms_max\": %.3f, \"wall_ms\": %.1f}\n",
	    work->name, work->jobs_n, failed, sum,
	    work->push_ms[work->jobs_n / 2], work->push_ms[work->jobs_n - 1],
	    wall_ms);
}
