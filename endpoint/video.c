/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RGB frames to an mp4 in memory: swscale to yuv420p, an encoder of
 * libavcodec, libavformat's muxer into a growing buffer.  A struct video
 * belongs to one worker at a time and shares nothing with another.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>

#include "video.h"

struct video {
	AVCodecContext *codec;
	AVFormatContext *format;
	AVStream *stream; /* belongs to format */
	struct SwsContext *scaler;
	AVFrame *frame;
	AVPacket *packet;
};

static enum latentd_err
av_failed(const char *what, int err, struct reason *why)
{
	char text[AV_ERROR_MAX_STRING_SIZE] = "";

	av_strerror(err, text, sizeof(text));
	return reason_set(why,
	    err == AVERROR(ENOMEM) ? LATENTD_ERR_MEMORY : LATENTD_ERR_INTERNAL,
	    "cannot write mp4: %s: %s", what, text);
}

void
video_quiet(void)
{
	av_log_set_level(AV_LOG_FATAL);
}

/* ---- opening ---- */

/* Constant quality where the encoder has it, else plenty of bits. */
static void
set_quality(AVCodecContext *codec, const AVCodec *encoder)
{
	const int64_t pixels = (int64_t)codec->width * codec->height;

	codec->bit_rate = pixels * codec->time_base.den / 4;
	if (encoder->id == AV_CODEC_ID_MPEG4) {
		codec->flags |= AV_CODEC_FLAG_QSCALE;
		codec->global_quality = 3 * FF_QP2LAMBDA;
		return;
	}
	if (strcmp(encoder->name, "libx264") != 0)
		return;
	codec->bit_rate = 0;
	av_opt_set(codec->priv_data, "preset", "veryfast", 0);
	av_opt_set(codec->priv_data, "crf", "17", 0);
}

static int
codec_try(struct video *v, const AVCodec *encoder, uint32_t width,
    uint32_t height, unsigned fps)
{
	AVCodecContext *codec = avcodec_alloc_context3(encoder);
	int err;

	if (codec == NULL)
		return AVERROR(ENOMEM);
	codec->width = (int)width;
	codec->height = (int)height;
	codec->time_base = (AVRational){1, (int)fps};
	codec->framerate = (AVRational){(int)fps, 1};
	codec->pix_fmt = AV_PIX_FMT_YUV420P;
	codec->color_range = AVCOL_RANGE_MPEG;
	codec->colorspace = AVCOL_SPC_BT709;
	codec->color_primaries = AVCOL_PRI_BT709;
	codec->color_trc = AVCOL_TRC_BT709;
	codec->thread_count = 1;
	codec->gop_size = (int)fps;
	codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
	set_quality(codec, encoder);
	err = avcodec_open2(codec, encoder, NULL);
	if (err < 0)
		avcodec_free_context(&codec);
	v->codec = codec;
	return err;
}

static enum latentd_err
codec_open(struct video *v, uint32_t width, uint32_t height, unsigned fps,
    struct reason *why)
{
	const AVCodec *const encoders[] = {
	    avcodec_find_encoder_by_name("libx264"),
	    avcodec_find_encoder_by_name("libopenh264"),
	    avcodec_find_encoder(AV_CODEC_ID_MPEG4),
	};
	int err = AVERROR_ENCODER_NOT_FOUND;
	size_t i;

	for (i = 0; i < sizeof(encoders) / sizeof(encoders[0]); i++) {
		if (encoders[i] == NULL)
			continue;
		err = codec_try(v, encoders[i], width, height, fps);
		if (err >= 0)
			return LATENTD_OK;
	}
	return av_failed("no encoder", err, why);
}

static int
format_open(struct video *v)
{
	int err;

	err = avformat_alloc_output_context2(&v->format, NULL, "mp4", NULL);
	if (err < 0)
		return err;
	v->stream = avformat_new_stream(v->format, NULL);
	if (v->stream == NULL)
		return AVERROR(ENOMEM);
	v->stream->time_base = v->codec->time_base;
	v->stream->avg_frame_rate = v->codec->framerate;
	err = avcodec_parameters_from_context(v->stream->codecpar, v->codec);
	if (err < 0)
		return err;
	err = avio_open_dyn_buf(&v->format->pb);
	if (err < 0)
		return err;
	return avformat_write_header(v->format, NULL);
}

static int
frame_open(struct video *v)
{
	const int width = v->codec->width, height = v->codec->height;
	const int *const bt709 = sws_getCoefficients(SWS_CS_ITU709);

	v->frame = av_frame_alloc();
	v->packet = av_packet_alloc();
	v->scaler = sws_getContext(width, height, AV_PIX_FMT_RGB24, width,
	    height, AV_PIX_FMT_YUV420P, SWS_BILINEAR | SWS_ACCURATE_RND, NULL,
	    NULL, NULL);
	if (v->frame == NULL || v->packet == NULL || v->scaler == NULL)
		return AVERROR(ENOMEM);
	sws_setColorspaceDetails(
	    v->scaler, bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16);
	v->frame->width = width;
	v->frame->height = height;
	v->frame->format = AV_PIX_FMT_YUV420P;
	v->frame->color_range = AVCOL_RANGE_MPEG;
	v->frame->colorspace = AVCOL_SPC_BT709;
	v->frame->quality = v->codec->global_quality;
	v->frame->pts = 0;
	return av_frame_get_buffer(v->frame, 0);
}

enum latentd_err
video_open(uint32_t width, uint32_t height, unsigned fps, struct video **video,
    struct reason *why)
{
	struct video *v = calloc(1, sizeof(*v));
	enum latentd_err err;
	int av;

	if (v == NULL)
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "not enough memory for a video");
	err = codec_open(v, width, height, fps, why);
	if (err != LATENTD_OK)
		goto close_video;
	av = format_open(v);
	if (av >= 0)
		av = frame_open(v);
	if (av < 0) {
		err = av_failed("it does not begin", av, why);
		goto close_video;
	}
	*video = v;
	return LATENTD_OK;

close_video:
	video_close(v);
	return err;
}

/* ---- writing ---- */

/* Move every packet that is ready from the encoder to the file. */
static int
packets_write(struct video *v)
{
	int err;

	for (;;) {
		err = avcodec_receive_packet(v->codec, v->packet);
		if (err == AVERROR(EAGAIN) || err == AVERROR_EOF)
			return 0;
		if (err < 0)
			return err;
		/* The encoder may not know how long a frame lasts. */
		if (v->packet->duration == 0)
			v->packet->duration = 1;
		av_packet_rescale_ts(
		    v->packet, v->codec->time_base, v->stream->time_base);
		v->packet->stream_index = v->stream->index;
		err = av_interleaved_write_frame(v->format, v->packet);
		if (err < 0)
			return err;
	}
}

enum latentd_err
video_add(struct video *v, const uint8_t *rgb, struct reason *why)
{
	const uint8_t *const planes[4] = {rgb, NULL, NULL, NULL};
	const int strides[4] = {v->codec->width * 3, 0, 0, 0};
	int err = av_frame_make_writable(v->frame);

	if (err < 0)
		return av_failed("no memory for a frame", err, why);
	sws_scale(v->scaler, planes, strides, 0, v->codec->height,
	    v->frame->data, v->frame->linesize);
	err = avcodec_send_frame(v->codec, v->frame);
	if (err >= 0)
		err = packets_write(v);
	if (err < 0)
		return av_failed("a frame is not encoded", err, why);
	v->frame->pts++;
	return LATENTD_OK;
}

static void
release_av(void *data)
{
	av_free(data);
}

enum latentd_err
video_finish(struct video *v, struct blob *file, struct reason *why)
{
	uint8_t *data = NULL;
	int bytes, err;

	err = avcodec_send_frame(v->codec, NULL);
	if (err >= 0)
		err = packets_write(v);
	if (err >= 0)
		err = av_write_trailer(v->format);
	if (err < 0)
		return av_failed("the file is not completed", err, why);
	bytes = avio_close_dyn_buf(v->format->pb, &data);
	v->format->pb = NULL;
	if (bytes <= 0 || data == NULL) {
		av_free(data);
		return av_failed("the file is empty", AVERROR(ENOMEM), why);
	}
	*file = (struct blob){data, (size_t)bytes, release_av};
	return LATENTD_OK;
}

void
video_close(struct video *v)
{
	uint8_t *data = NULL;

	if (v == NULL)
		return;
	if (v->format != NULL && v->format->pb != NULL) {
		avio_close_dyn_buf(v->format->pb, &data);
		av_free(data);
		v->format->pb = NULL;
	}
	avformat_free_context(v->format);
	avcodec_free_context(&v->codec);
	sws_freeContext(v->scaler);
	av_frame_free(&v->frame);
	av_packet_free(&v->packet);
	free(v);
}
