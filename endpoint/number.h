/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_NUMBER_H
#define ENDPOINT_NUMBER_H

#include <stdint.h>

#include "latentd/errors.h"
#include "reason.h"

/*
 * number_read(name, value, min, max, number, why) / number_read_real(...):
 * Read a setting: a whole number in decimal digits, or a real one in plain
 * notation ("0.25"), from ${min} to ${max}.  Fails with INVALID and a sentence
 * that begins with ${name}, ${*number} unchanged.  Any thread.
 */
enum latentd_err number_read(const char *name, const char *value, uint64_t min,
    uint64_t max, uint64_t *number, struct reason *why);
enum latentd_err number_read_real(const char *name, const char *value,
    double min, double max, double *number, struct reason *why);

#endif
