/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include <stdlib.h>

#include "base/buffer.h"

struct attempt *
attempt_create(struct job *job, size_t part)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->job = job;
	a->part = part;
	a->cost_px = job->cost_px / job->parts_n;
	return a;
}

void
attempt_destroy(struct attempt *a)
{
	if (a == NULL)
		return;
	buffer_destroy(a->reply);
	free(a->file_bytes);
	free(a);
}
