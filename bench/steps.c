/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-steps: do one thing many times and nothing else, for a profiler that
 * counts instructions; the difference of two numbers of times is the thing's
 * own.
 *
 *     bench-steps STEP TIMES
 *     bench-steps png TIMES FILE.png
 *
 * Steps of the codec: encode-submit, decode-submit, encode-accepted,
 * decode-accepted, encode-collect, decode-collect, encode-result,
 * decode-result.  Of the queue, a job in and the next out while so many wait:
 * queue-100, queue-10000.  png: one file written.
 */
#include <inttypes.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/png_write.h"
#include "message.h"
#include "queue.h"
#include "tool.h"

#define TIMES_MAX 1000000
#define PRODUCERS_N 16u
#define AGE_MS 60000u

/* ---- codec ---- */

#define TEXT(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}

static const struct message_submit submit = {.producer = TEXT("comfyui-1"),
    .key = TEXT("6f1c9f0e-8d1b-4b57-9d36-0d0f6a2f8c11"),
    .task = LATENTD_DECODE,
    .model = TEXT("sdxl"),
    .tensor = {LATENTD_F16, 4, {1, 4, 128, 128}},
    .output = LATENTD_OUT_PNG,
    .metadata_bytes = 300,
    .deadline_ms = 60000};
static const struct message_accepted accepted = {
    .instance = UINT64_C(0x1234567890abcdef),
    .id = 123456,
    .state = JOB_QUEUED,
    .position = 17,
    .estimated_wait_ms = 900};
static const uint64_t tags[] = {70001, 70002, 70003, 70004};
static const struct message_collect collect = {
    .producer = TEXT("comfyui-1"), .acks = tags, .acks_n = 4, .wait_ms = 25000};
static const uint64_t part_bytes[] = {1500000};
static const struct message_result result = {
    .instance = UINT64_C(0x1234567890abcdef),
    .tag = 70005,
    .id = 123456,
    .key = TEXT("6f1c9f0e-8d1b-4b57-9d36-0d0f6a2f8c11"),
    .state = JOB_DONE,
    .output = LATENTD_OUT_PNG,
    .part_bytes = part_bytes,
    .part_bytes_n = 1,
    .width_px = 1024,
    .height_px = 1024,
    .frames = 1,
    .endpoint = TEXT("hf-sdxl"),
    .attempts = 1,
    .queued_ms = 40,
    .decode_ms = 700,
    .finish_ms = 5};

static const struct known {
	const char *name;
	enum message_type type;
	const void *message;
	size_t body_bytes;
} messages[] = {
    {"submit", MESSAGE_SUBMIT, &submit, 131372},
    {"accepted", MESSAGE_ACCEPTED, &accepted, 0},
    {"collect", MESSAGE_COLLECT, &collect, 0},
    {"result", MESSAGE_RESULT, &result, 1500000},
};

static void
encode(const struct known *known, uint64_t times)
{
	uint8_t front[MESSAGE_FRONT_BYTES];

	for (uint64_t i = 0; i < times; i++)
		tool_check(message_encode(known->type, known->message,
			       known->body_bytes, front, sizeof(front)) > 0,
		    "it cannot be encoded");
}

static void
decode(const struct known *known, uint64_t times)
{
	static struct message_scratch scratch;
	static union message_any out;
	size_t room_bytes = MESSAGE_FRONT_BYTES + known->body_bytes;
	uint8_t *data = calloc(1, room_bytes);
	struct message_frame frame;
	size_t bytes;

	tool_check(data != NULL, "out of memory");
	bytes = message_encode(known->type, known->message, known->body_bytes,
	    data, MESSAGE_FRONT_BYTES);
	tool_check(bytes > 0, "it cannot be encoded");
	bytes += known->body_bytes;
	for (uint64_t i = 0; i < times; i++)
		tool_check(
		    message_frame(data, bytes, &frame, NULL) == LATENTD_OK &&
			message_decode(&frame, &scratch, &out, NULL) ==
			    LATENTD_OK,
		    "it cannot be decoded");
	free(data);
}

static bool
run_codec(const char *step, uint64_t times)
{
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		const char *name = messages[i].name;

		if (strncmp(step, "encode-", 7) == 0 &&
		    strcmp(step + 7, name) == 0) {
			encode(&messages[i], times);
			return true;
		}
		if (strncmp(step, "decode-", 7) == 0 &&
		    strcmp(step + 7, name) == 0) {
			decode(&messages[i], times);
			return true;
		}
	}
	return false;
}

/* ---- queue ---- */

struct bench {
	uv_loop_t loop;
	struct jobs jobs;
	struct queue *queue;
	struct lane lane;
	struct producer *producers[PRODUCERS_N];
	uint64_t keys_n;
};

static void
on_move(const struct job *job, enum job_state from, void *arg)
{
	(void)job;
	(void)from;
	(void)arg;
}

static void
on_ready(void *arg)
{
	(void)arg;
}

static void
open_queue(struct bench *b)
{
	const struct queue_options options = {.jobs_max = SIZE_MAX,
	    .bytes_max = UINT64_MAX,
	    .on_ready = on_ready};
	struct producer_identity identity;

	uv_loop_init(&b->loop);
	jobs_init(&b->jobs, on_move, NULL);
	b->jobs.producers.bounds =
	    (struct producer_bounds){SIZE_MAX, UINT64_MAX, 1};
	b->queue = queue_open(&b->loop, &b->jobs, &options);
	tool_check(b->queue != NULL, "out of memory");
	order_init(&b->lane.waiting, AGE_MS);
	for (size_t i = 0; i < PRODUCERS_N; i++) {
		char name[2] = {(char)('a' + i), '\0'};

		producer_identity(1000, (struct text){name, 1},
		    (struct text){NULL, 0}, &identity);
		b->producers[i] = producers_get(&b->jobs.producers, &identity);
		tool_check(b->producers[i] != NULL, "out of memory");
		producers_hold(b->producers[i]);
	}
}

static void
close_queue(struct bench *b)
{
	for (size_t i = 0; i < PRODUCERS_N; i++)
		producers_release(&b->jobs.producers, b->producers[i]);
	order_fini(&b->lane.waiting);
	queue_close(b->queue);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	tool_check(uv_loop_close(&b->loop) == 0, "a handle is open");
}

static void
push(struct bench *b)
{
	char key[24];
	int key_bytes = snprintf(key, sizeof(key), "k%" PRIu64, b->keys_n);
	struct job *job;

	tool_check(job_create(&b->jobs, b->producers[b->keys_n % PRODUCERS_N],
		       (struct text){key, (size_t)key_bytes}, 1, &job,
		       NULL) == LATENTD_OK,
	    "out of memory");
	b->keys_n++;
	job->lane = &b->lane;
	job->class = (unsigned)(b->keys_n % JOB_CLASSES);
	job->cost_px = UINT64_C(1024) * 1024;
	tool_check(queue_push(b->queue, job), "out of memory");
}

static void
pop(struct bench *b)
{
	struct job *job = queue_pop(b->queue, &b->lane);

	tool_check(job != NULL, "nothing waits");
	job_move(&b->jobs, job, JOB_ACTIVE);
	job_destroy(&b->jobs, job);
}

static bool
run_queue(const char *step, uint64_t times)
{
	static struct bench b;
	uint64_t depth;

	if (strncmp(step, "queue-", 6) != 0)
		return false;
	depth = strtoull(step + 6, NULL, 10);
	tool_check(depth >= 1 && depth <= TIMES_MAX, "no such depth");
	open_queue(&b);
	for (uint64_t i = 0; i < depth; i++)
		push(&b);
	for (uint64_t i = 0; i < times; i++) {
		push(&b);
		pop(&b);
	}
	for (uint64_t i = 0; i < depth; i++)
		pop(&b);
	close_queue(&b);
	return true;
}

/* ---- PNG ---- */

static bool
on_bytes(const void *data, size_t bytes, void *arg)
{
	(void)data;
	*(size_t *)arg += bytes;
	return true;
}

static void
run_png(const char *path, uint64_t times)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	struct png_pixels p;
	uint8_t *at;
	size_t bytes;

	tool_check(png_image_begin_read_from_file(&image, path), image.message);
	image.format = PNG_FORMAT_RGB;
	at = malloc(PNG_IMAGE_SIZE(image));
	tool_check(at != NULL, "out of memory");
	tool_check(
	    png_image_finish_read(&image, NULL, at, 0, NULL), image.message);
	p = (struct png_pixels){
	    at, PNG_IMAGE_ROW_STRIDE(image), image.width, image.height, 3, 8};
	for (uint64_t i = 0; i < times; i++) {
		bytes = 0;
		tool_check(
		    png_write(&p, NULL, 0, on_bytes, &bytes) && bytes > 0,
		    "it cannot be written");
	}
	free(at);
}

int
main(int argc, char **argv)
{
	uint64_t times = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	tool_check(argc >= 3 && argc <= 4 && times >= 1 && times <= TIMES_MAX,
	    "usage: bench-steps STEP TIMES [FILE.png]");
	if (argc == 4) {
		tool_check(strcmp(argv[1], "png") == 0, "no such step");
		run_png(argv[3], times);
	} else {
		tool_check(
		    run_codec(argv[1], times) || run_queue(argv[1], times),
		    "no such step");
	}
	return EXIT_SUCCESS;
}
