/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in and out, for latentctl.  Errors name the file. */
#ifndef CLIENT_FILES_H
#define CLIENT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

/* "-" names standard input or output. */
#define FILES_STANDARD "-"

/*
 * files_read(path, max_bytes, data, bytes, why):
 * Read all of ${path}, or of standard input, into ${*data}, which the caller
 * frees.  Fails with NOT_FOUND, IO, TOO_LARGE, MEMORY.
 */
enum latentd_err files_read(const char *path, size_t max_bytes, uint8_t **data,
    size_t *bytes, struct reason *why);

/* Bytes to be written one after the other. */
struct files_piece {
	const void *data;
	size_t bytes;
};

/*
 * files_write(directory, name, pieces, pieces_n, replace, why):
 * Write a file that appears under its name only when it is complete.  Fails
 * with IO; also when it exists and ${replace} is false.
 */
enum latentd_err files_write(const char *directory, const char *name,
    const struct files_piece *pieces, size_t pieces_n, bool replace,
    struct reason *why);

/* files_write_standard(pieces, pieces_n, why): the same to standard output. */
enum latentd_err files_write_standard(
    const struct files_piece *pieces, size_t pieces_n, struct reason *why);

/* files_make_directory(path, why): make it and its parents, if missing. */
enum latentd_err files_make_directory(const char *path, struct reason *why);

/* files_exists(directory, name): something of that name is there. */
bool files_exists(const char *directory, const char *name);

/*
 * files_stem(path, stem, room): the name without directories and without its
 * last extension; "stdin" for standard input.  Cut to ${room}.
 */
void files_stem(const char *path, char *stem, size_t room);

#endif
