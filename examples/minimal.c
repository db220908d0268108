/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minimal: one latent to the daemon, one picture back.
 *
 *     cc minimal.c $(pkg-config --cflags --libs latentd) -o minimal
 *     ./minimal picture.png
 *
 * The daemon is that of $LATENTD_URL, ipc:///run/latentd/latentd.sock unless
 * set, and needs an endpoint that decodes sdxl.
 */
#include <stdio.h>
#include <stdlib.h>

#include <latentd/client.h>

/* [1, 4, 64, 64] in float16; all zero decodes to one colour of 512 x 512. */
static uint16_t latent[4 * 64 * 64];

static int
save(const struct latentd_result *result, const char *name)
{
	size_t bytes;
	const void *data = latentd_result_part(result, 0, &bytes);
	FILE *file;
	int rv = 0;

	if (data == NULL) {
		fprintf(stderr, "%s\n", latentd_result_message(result));
		return -1;
	}
	if ((file = fopen(name, "wb")) == NULL) {
		perror(name);
		return -1;
	}
	if (fwrite(data, 1, bytes, file) != bytes)
		rv = -1;
	if (fclose(file) != 0)
		rv = -1;
	if (rv != 0)
		perror(name);
	return rv;
}

int
main(int argc, char **argv)
{
	const struct latentd_request request = {
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, 64, 64}},
	    .data = latent,
	    .data_bytes = sizeof(latent),
	};
	struct latentd_client *client;
	struct latentd_result *result;
	int rv = -1;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PICTURE.png\n", argv[0]);
		return 2;
	}
	if (latentd_client_open(&client, NULL) != LATENTD_OK) {
		fprintf(stderr, "%s\n", latentd_client_error(NULL));
		return EXIT_FAILURE;
	}
	if (latentd_run(client, &request, -1, &result) != LATENTD_OK) {
		fprintf(stderr, "%s\n", latentd_client_error(client));
	} else {
		rv = save(result, argv[1]);
		latentd_result_free(result);
	}
	latentd_client_close(client);
	return rv == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
