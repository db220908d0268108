/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds that both sides of the protocol enforce (protocol.md §9).  What the
 * daemon's configuration may lower is announced in WELCOME.
 */
#ifndef LATENTD_LIMITS_H
#define LATENTD_LIMITS_H

#define LATENTD_MAX_NDIM 6 /* dimensions of a tensor */
#define LATENTD_MAX_DIM 1048576u /* one dimension */
#define LATENTD_MAX_SIDE_PX 16384u /* width or height of an image */
#define LATENTD_MAX_FRAMES 4096u /* frames of a video */
#define LATENTD_MAX_BATCH 64u /* latents in one job */
#define LATENTD_MAX_PARTS 2048u /* images in one result */

#define LATENTD_MAX_NAME_BYTES 64u /* producer, key, model */
#define LATENTD_MAX_SECRET_BYTES 64u /* a producer's secret */
#define LATENTD_MAX_URL_BYTES 1024u /* any URL in a configuration */
#define LATENTD_MAX_TEXT_BYTES 512u /* a reason, a hint */
#define LATENTD_MAX_HEADER_BYTES 16384u /* the msgpack header of a message */
#define LATENTD_MAX_METADATA_BYTES 1048576u /* PNG text of one job */
#define LATENTD_MAX_METADATA_N 64u /* entries of it */
#define LATENTD_MAX_BODY_BYTES 1073741824u /* body of one message */
#define LATENTD_MAX_ACKS 256u /* acknowledgements in one COLLECT */
#define LATENTD_MAX_LIST 1000u /* jobs that one LIST looks at */
#define LATENTD_MAX_WAIT_MS 25000u /* how long one COLLECT may wait */
#define LATENTD_MAX_DEADLINE_MS 604800000u /* a job's deadline: a week */

#endif
