/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What producer and serial share: their command line, latents from files, and
 * pictures into files.  Nothing here belongs to latentd's interface; read
 * producer.c for that.
 */
#ifndef EXAMPLES_WORK_H
#define EXAMPLES_WORK_H

#include <stddef.h>
#include <stdint.h>

#include <latentd/types.h>

#define WORK_MAX_LATENTS 64
#define WORK_MAX_JOBS 10000

/* A latent in memory, in model space. */
struct latent {
	const char *model;
	struct latentd_tensor tensor;
	uint8_t *data;
	size_t data_bytes;
};

struct work {
	const char *url; /* of the daemon or of the endpoint */
	const char *name; /* of this process, in file names */
	const char *out; /* directory for the pictures */
	uint32_t generate_ms; /* how long making one latent takes */
	size_t jobs_n; /* jobs, going round the latents */
	struct latent latents[WORK_MAX_LATENTS];
	size_t latents_n;
	double *push_ms; /* jobs_n times, filled by the program */
};

/*
 * work_init(work, argc, argv):
 * Read the command line
 *     --url URL --name NAME --out DIR [--generate-ms N] [--jobs N]
 *     MODEL=FILE.safetensors...
 * and the files.  Return 0, or -1 after saying on standard error what is
 * wrong; work_fini() is due in both cases.
 */
int work_init(struct work *work, int argc, char **argv);
void work_fini(struct work *work);

/* work_latent(work, i): the latent of job ${i}. */
const struct latent *work_latent(const struct work *work, size_t i);

/*
 * work_save(work, i, extension, data, bytes):
 * Write ${data} to DIR/NAME-I-MODEL.EXTENSION.  Return 0, or -1 after saying
 * on standard error what failed.
 */
int work_save(const struct work *work, size_t i, const char *extension,
    const void *data, size_t bytes);

/* work_now_ms(): a monotonic clock. */
double work_now_ms(void);

/* work_report(work, failed, wall_ms): one JSON line with the numbers. */
void work_report(struct work *work, size_t failed, double wall_ms);

#endif
