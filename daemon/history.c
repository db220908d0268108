/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <assert.h>
#include <stdlib.h>

void
history_note(struct history **history, const struct history_entry *entry)
{
	struct history *h = *history;

	if (h == NULL && entry->err == LATENTD_OK)
		return;
	if (h == NULL && (h = calloc(1, sizeof(*h))) == NULL)
		return;
	h->entries[h->n++ % HISTORY_MAX] = *entry;
	*history = h;
}

size_t
history_n(const struct history *h)
{
	if (h == NULL)
		return 0;
	return h->n < HISTORY_MAX ? h->n : HISTORY_MAX;
}

const struct history_entry *
history_at(const struct history *h, size_t i)
{
	size_t kept_n = history_n(h);

	assert(i < kept_n);
	return &h->entries[(h->n - kept_n + i) % HISTORY_MAX];
}
