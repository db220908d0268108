/* SPDX-License-Identifier: Apache-2.0 */
#include "nearest.h"

#include <string.h>

#define WORD_BYTES_MAX 63

/* Levenshtein's distance, one row at a time; longer words are not near. */
static size_t
distance(const char *a, const char *b)
{
	size_t a_n = strlen(a), b_n = strlen(b);
	size_t row[WORD_BYTES_MAX + 1];

	if (a_n > WORD_BYTES_MAX || b_n > WORD_BYTES_MAX)
		return WORD_BYTES_MAX;
	for (size_t j = 0; j <= b_n; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_n];
}

const char *
nearest_name(const char *word, const char *const *names, size_t n)
{
	const char *best = NULL;
	size_t best_distance = WORD_BYTES_MAX;

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, names[i]);

		if (d < best_distance && 3 * d <= strlen(names[i]) + 2) {
			best = names[i];
			best_distance = d;
		}
	}
	return best;
}
