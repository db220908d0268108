/* SPDX-License-Identifier: Apache-2.0 */
/*
 * png_file: write the raw pixels of stdin, 16 bits as this machine has them,
 * as the daemon writes a PNG, to stdout.
 *
 *     png_file WIDTH HEIGHT CHANNELS BITS
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/png_write.h"

static bool
on_write(const void *data, size_t bytes, void *arg)
{
	return fwrite(data, 1, bytes, arg) == bytes;
}

int
main(int argc, char **argv)
{
	static const struct png_text text = {"parameters", 10, "a cat", 5};
	struct png_pixels p;
	size_t bytes;
	void *at;
	bool written;

	if (argc != 5) {
		fprintf(stderr, "usage: png_file WIDTH HEIGHT CHANNELS BITS\n");
		return EXIT_FAILURE;
	}
	p.width_px = (uint32_t)strtoul(argv[1], NULL, 10);
	p.height_px = (uint32_t)strtoul(argv[2], NULL, 10);
	p.channels_n = (unsigned)strtoul(argv[3], NULL, 10);
	p.bits = (unsigned)strtoul(argv[4], NULL, 10);
	p.stride_bytes = (size_t)p.width_px * p.channels_n * (p.bits / 8);
	bytes = p.stride_bytes * p.height_px;
	at = malloc(bytes);
	p.at = at;
	written = at != NULL && fread(at, 1, bytes, stdin) == bytes &&
	    png_write(&p, &text, 1, on_write, stdout) && fflush(stdout) == 0;
	free(at);
	return written ? EXIT_SUCCESS : EXIT_FAILURE;
}
