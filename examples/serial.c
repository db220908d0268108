/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial: the same work without latentd, as the guide to remote decoding has
 * it: generate a latent, POST it, wait for the picture, save it, go on.
 *
 *     serial --url http://127.0.0.1:PORT --name p1 --out pictures
 *         --generate-ms 200 sdxl=a.safetensors flux=b.safetensors
 *
 * It stands here to be compared with producer.c: no retry, no timeout, and
 * generating stands still while the endpoint works.
 */
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

struct reply {
	uint8_t *data;
	size_t bytes;
};

static size_t
on_data(char *data, size_t size, size_t n, void *arg)
{
	struct reply *reply = arg;
	uint8_t *grown = realloc(reply->data, reply->bytes + size * n);

	if (grown == NULL)
		return 0;
	memcpy(grown + reply->bytes, data, size * n);
	reply->data = grown;
	reply->bytes += size * n;
	return size * n;
}

static const char *
dtype_name(enum latentd_dtype dtype)
{
	if (dtype == LATENTD_F16)
		return "float16";
	return dtype == LATENTD_BF16 ? "bfloat16" : "float32";
}

/* The request's address, as diffusers' remote_decode() puts it together. */
static void
format_url(const struct work *work, const struct latent *latent, char *url,
    size_t url_bytes)
{
	int video = latent->tensor.ndim == 5;
	int n = snprintf(url, url_bytes,
	    "%s/%s?image_format=png&output_type=%s&partial_postprocess=False",
	    work->url, latent->model, video ? "mp4" : "pil");
	size_t at = n < 0 ? url_bytes : (size_t)n;
	uint32_t i;

	for (i = 0; i < latent->tensor.ndim && at < url_bytes; i++)
		at += (size_t)snprintf(url + at, url_bytes - at, "&shape=%llu",
		    (unsigned long long)latent->tensor.shape[i]);
	if (at < url_bytes)
		snprintf(url + at, url_bytes - at, "&dtype=%s&do_scaling=True",
		    dtype_name(latent->tensor.dtype));
}

/* POST job ${i} on a connection of its own and wait for the whole reply. */
static int
decode(const struct work *work, size_t i, struct reply *reply)
{
	const struct latent *latent = work_latent(work, i);
	struct curl_slist *headers = NULL;
	CURL *curl = curl_easy_init();
	char url[2048];
	long status = 0;
	CURLcode code;

	if (curl == NULL)
		return -1;
	format_url(work, latent, url, sizeof(url));
	headers = curl_slist_append(headers, "Content-Type: tensor/binary");
	headers = curl_slist_append(headers,
	    latent->tensor.ndim == 5 ? "Accept: text/plain"
				     : "Accept: image/png");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, latent->data);
	curl_easy_setopt(
	    curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)latent->data_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK || status != 200)
		fprintf(stderr, "%s: job %zu: %s, status %ld: %.*s\n",
		    work->name, i + 1, curl_easy_strerror(code), status,
		    reply->bytes < 200 ? (int)reply->bytes : 200,
		    reply->data == NULL ? "" : (const char *)reply->data);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return code == CURLE_OK && status == 200 ? 0 : -1;
}

int
main(int argc, char **argv)
{
	struct work work;
	double begin_ms;
	size_t failed = 0;
	size_t i;

	if (work_init(&work, argc, argv) != 0) {
		work_fini(&work);
		return 2;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	begin_ms = work_now_ms();
	for (i = 0; i < work.jobs_n; i++) {
		struct reply reply = {NULL, 0};
		double pushed_ms;

		/* Stands for the GPU: nothing to look at meanwhile. */
		poll(NULL, 0, (int)work.generate_ms);
		pushed_ms = work_now_ms();
		if (decode(&work, i, &reply) != 0 ||
		    work_save(&work, i,
			work_latent(&work, i)->tensor.ndim == 5 ? "mp4" : "png",
			reply.data, reply.bytes) != 0)
			failed++;
		work.push_ms[i] = work_now_ms() - pushed_ms;
		free(reply.data);
	}
	work_report(&work, failed, work_now_ms() - begin_ms);
	curl_global_cleanup();
	work_fini(&work);
	return failed == 0 ? 0 : 1;
}
