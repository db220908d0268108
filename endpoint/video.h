/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_VIDEO_H
#define ENDPOINT_VIDEO_H

#include <stdint.h>

#include "blob.h"
#include "latentd/errors.h"
#include "reason.h"

struct video;

/*
 * video_open(width, height, fps, video, why):
 * Begin an mp4 file in memory: H.264 where libavcodec has libx264 or
 * libopenh264, else MPEG-4 part 2; yuv420p, BT.709.  Sides must be even.  One
 * thread encodes.  On success ${*video} is the caller's, to be closed with
 * video_close().  Fails with MEMORY or INTERNAL.
 */
enum latentd_err video_open(uint32_t width, uint32_t height, unsigned fps,
    struct video **video, struct reason *why);

/* video_add(video, rgb, why): append a frame, bytes [height][width][3]. */
enum latentd_err video_add(
    struct video *video, const uint8_t *rgb, struct reason *why);

/* video_finish(video, file, why): complete the file, which becomes the
 * caller's.  Once, before video_close(). */
enum latentd_err video_finish(
    struct video *video, struct blob *file, struct reason *why);

/* video_close(video): free it, finished or not; NULL is a no-op. */
void video_close(struct video *video);

/* video_quiet(): let libav print errors only.  Once, before any thread. */
void video_quiet(void);

#endif
