/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_BLOB_H
#define ENDPOINT_BLOB_H

#include <stddef.h>

/* Bytes together with what frees them: libraries insist on their own. */
struct blob {
	void *data;
	size_t bytes;
	void (*release)(void *data);
};

/* blob_free(blob): release its bytes and leave it empty; empty is a no-op. */
static inline void
blob_free(struct blob *blob)
{
	if (blob->data != NULL)
		blob->release(blob->data);
	blob->data = NULL;
	blob->bytes = 0;
}

#endif
