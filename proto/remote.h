/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The remote endpoint's HTTP contract as pure functions: the daemon formats
 * requests and checks replies with them, the endpoint and the gateway parse
 * requests and format replies.  protocol.md §10 states the contract; it follows
 * diffusers utils/remote_utils.py (prepare_decode, check_inputs_decode,
 * postprocess_decode, prepare_encode) and what its clients really send.
 */
#ifndef PROTO_REMOTE_H
#define PROTO_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image.h"
#include "latentd/types.h"
#include "model.h"
#include "reason.h"

#define REMOTE_QUERY_BYTES 1024

enum remote_output { REMOTE_PIL = 0, REMOTE_PT, REMOTE_MP4 };

/*
 * Content types of bodies, and what an Accept header asks for.  pil with
 * TENSOR or TENSOR_BASE64 is a float tensor in [0,1] (the client has a
 * processor), with anything else an image file in image_format; pt and mp4
 * are what they are, pt in base64 where that is accepted.
 */
enum remote_type {
	REMOTE_ANY = 0, /* missing, empty or any: the default */
	REMOTE_TENSOR, /* tensor/binary */
	REMOTE_TENSOR_BASE64, /* tensor/base64: {"inputs": base64} */
	REMOTE_JSON, /* application/json: the oldest request form */
	REMOTE_JPEG, /* image/jpeg, image/jpg, image/any */
	REMOTE_PNG,
	REMOTE_TEXT, /* text/plain: how mp4 is asked for and sent;
				 * video/mp4 counts as the same */
	REMOTE_OTHER,
};

enum remote_scaling {
	REMOTE_SCALING_NONE = 0, /* the latent is (to be) in VAE space */
	REMOTE_SCALING_SERVER, /* do_scaling=True: the model's own factors */
	REMOTE_SCALING_FACTORS, /* as given */
};

struct remote_request {
	enum latentd_task task;
	const struct model *model;
	struct latentd_tensor tensor; /* ndim 0: the body is an image file */
	enum remote_scaling scaling;
	double scaling_factor; /* meant with FACTORS only */
	double shift_factor;
	bool has_shift;
	bool has_factor; /* server: scaling_factor was given */
	int do_scaling; /* server: 1 True, -1 False, 0 absent */
	uint32_t height_px; /* 0: not given */
	uint32_t width_px;
	enum remote_output output; /* decode only, like the next two */
	bool png; /* image_format=png rather than jpg */
	bool partial_postprocess;
	enum remote_type accept;
	enum remote_type body;
};

/* What must come back for a request, and how much of it at the most. */
struct remote_expect {
	enum remote_type type; /* JPEG, PNG, TENSOR, TEXT (mp4) */
	bool base64; /* TENSOR inside {"inputs": ...} */
	struct latentd_tensor tensor; /* dtype NONE: any of the float types;
					 * servers send the model's */
	struct geometry geo; /* of the pictures; decode only */
	uint64_t max_bytes; /* of the reply's body */
};

/*
 * ---- the client's side ----
 * remote.c has the query, remote_expect.c the replies, remote_server.c the
 * other side, remote_json.c the bodies that are JSON.
 */

/*
 * remote_query_format(req, query):
 * Write the query, with its '?', in the order that diffusers uses: decode
 * "?image_format=jpg&output_type=pil&partial_postprocess=False&shape=1&...
 * &dtype=float16&scaling_factor=0.13025", encode "?scaling_factor=..." and
 * shape and dtype when a tensor is sent.  Floats in the shortest form that
 * reads back the same (Python's repr).  Return ${query}; always fits.
 */
char *remote_query_format(
    const struct remote_request *req, char query[REMOTE_QUERY_BYTES]);

/*
 * remote_type_name(type): "image/jpeg"; "text/plain" for TEXT; "" for ANY and
 * OTHER.
 * remote_type_find(text): the first known type of a Content-Type or Accept
 * value, whatever its letter case and parameters; ANY for NULL and empty, OTHER
 * if there is none.
 */
const char *remote_type_name(enum remote_type type);
enum remote_type remote_type_find(const char *text);

/*
 * remote_encode_batch(m, t, geo, why): what the picture tensor ${t} of an
 * encode is: [N,3,H,W] or [3,H,W] for an image model, [N,3,F,H,W] for a video
 * model; float values in [-1,1], uint8 in 0..255.  Sets ${geo}'s batch, frames,
 * height_px, width_px and video.  Fails with SHAPE or TOO_LARGE, ${geo}
 * unchanged.
 */
enum latentd_err remote_encode_batch(const struct model *m,
    const struct latentd_tensor *t, struct geometry *geo, struct reason *why);

/*
 * remote_expect(req, image, expect, why):
 * Work out the reply that ${req} must get.  For an encode of an image file
 * ${image} holds the file's facts; otherwise it is NULL.  Fails with SHAPE,
 * TOO_LARGE or UNSUPPORTED (mp4 of an image model, an image file of a batch:
 * "split batches") and the sentence to answer 400 with; ${expect} unchanged.
 * The bound is the size for binary tensors (as float32 where the dtype is
 * open), and for files and base64 what such a picture can need at the worst;
 * never above LATENTD_MAX_BODY_BYTES.
 *
 * decode, N pictures (F frames for a video model):
 *   pil, image accepted   one JPEG or PNG; N > 1 and videos are refused
 *   pil, tensor accepted  float [0,1]: [N,3,H,W], video [F,3,H,W] (N = 1)
 *   pt                    float [-1,1]: [N,3,H,W], video [N,3,F,H,W]
 *   pt, partial           uint8: [N,H,W,3], video [F,H,W,3] (N = 1)
 *   mp4                   one file, video models only, N = 1
 * encode: float latent [N,C,h,w], video [N,C,T,h,w]; a file counts as one
 * picture, for a video model as a video of one frame.
 */
enum latentd_err remote_expect(const struct remote_request *req,
    const struct image_info *image, struct remote_expect *expect,
    struct reason *why);

/*
 * remote_check_head(expect, content_type, shape, dtype, bytes, tensor, why):
 * Judge a 2xx reply by its headers (NULL where missing) and its byte count:
 * content type, shape and dtype as expected, byte count equal to the shape.
 * On success ${*tensor} describes the reply (ndim 0 for files).  Fails with
 * ENDPOINT and a sentence on what the endpoint said and what was expected.
 * base64 replies are checked after decoding, not here:
 * ndim 0, too.
 */
enum latentd_err remote_check_head(const struct remote_expect *expect,
    const char *content_type, const char *shape, const char *dtype,
    uint64_t bytes, struct latentd_tensor *tensor, struct reason *why);

/*
 * remote_check_body(expect, data, bytes, why):
 * Judge a file reply by its content: magic, whole to its last byte
 * (image_parse), width, height and frames as expected.  TENSOR passes
 * untouched.  Reads every byte: worker threads only.  Fails with ENDPOINT.
 */
enum latentd_err remote_check_body(const struct remote_expect *expect,
    const void *data, size_t bytes, struct reason *why);

/*
 * remote_error_text(body, bytes, why):
 * Take the sentence out of an error reply: {"error": "..."} or its "message",
 * else the printable start of the body, cut and escaped into ${why->text}.
 * ${why->err} stays.
 */
void remote_error_text(const void *body, size_t bytes, struct reason *why);

/* ---- the server's side ---- */

/*
 * remote_request_init(req, task, model): the defaults of a request without
 * any parameter (pil, jpg, no scaling).
 */
void remote_request_init(struct remote_request *req, enum latentd_task task,
    const struct model *model);

/*
 * remote_request_headers(req, content_type, accept): note the two headers,
 * either NULL.  Parameters behind ';' and letter case do not matter; of a list
 * in Accept the first known type counts.
 */
void remote_request_headers(
    struct remote_request *req, const char *content_type, const char *accept);

/*
 * remote_request_param(req, key, value, why):
 * Apply one decoded query parameter, ${value} NULL for "key" without '='.
 * Keys: shape (repeated, in order), dtype, scaling_factor, shift_factor,
 * do_scaling, height, width, output_type, image_format, partial_postprocess.
 * Unknown keys are ignored; a repeated key other than shape overrides.
 * Booleans as Python prints them, any case, or 1/0; whole numbers in decimal
 * digits only; factors in plain or exponent notation, scaling_factor 1e-6 to
 * 1e6, shift_factor -1e6 to 1e6.  Fails with INVALID and a sentence that names
 * the parameter, its value and what would be right.
 *
 * Scaling: do_scaling=False means NONE, else a scaling_factor means FACTORS
 * (with shift 0 unless given), else do_scaling=True means SERVER, whatever
 * shift_factor says; nothing means NONE.  A shift_factor alone is refused by
 * remote_request_body().
 */
enum latentd_err remote_request_param(struct remote_request *req,
    const char *key, const char *value, struct reason *why);

/*
 * remote_request_body(req, body, bytes, payload, payload_bytes, owned, why):
 * Find the payload in the body after headers and parameters are known.  Binary
 * bodies are the payload (${*owned} = NULL).  JSON bodies ({"inputs": base64,
 * "parameters": {...}}) are decoded into ${*owned}, which the caller frees,
 * and their parameters applied; the oldest form ("parameters" without any
 * scaling, none in the query either) means "the server scales".  base64 is the
 * standard alphabet with its padding and nothing else: no blanks, no line ends,
 * unused bits zero.  Then the whole is checked: decode needs shape and dtype
 * (not uint8) that give exactly ${*payload_bytes}; encode takes a tensor with
 * both, or a PNG or JPEG file (no shape), judged by its magic only.  Shapes
 * are compared with the model by remote_expect().  Fails with INVALID, SHAPE,
 * IMAGE, TOO_LARGE, MEMORY; nothing to free then.  A JSON body costs about four
 * times its size while it is read.
 */
enum latentd_err remote_request_body(struct remote_request *req,
    const void *body, size_t bytes, const void **payload, size_t *payload_bytes,
    void **owned, struct reason *why);

/*
 * remote_reply_type(expect): the Content-Type to answer with ("tensor/binary",
 * "image/jpeg", "text/plain; charset=utf-8" for mp4 as Starlette labels it).
 */
const char *remote_reply_type(const struct remote_expect *expect);

/*
 * remote_error_format(why, bytes) / remote_base64_format(t, data, data_bytes,
 * bytes): the JSON bodies {"error": text} and {"inputs": base64, "parameters":
 * {"shape": [...], "dtype": "..."}}, malloc'd, ${*bytes} long and NUL-ended;
 * the caller frees.  NULL when memory is out.
 */
char *remote_error_format(const struct reason *why, size_t *bytes);
char *remote_base64_format(const struct latentd_tensor *t, const void *data,
    size_t data_bytes, size_t *bytes);

/*
 * remote_base64_parse(body, bytes, tensor, data, data_bytes, why): the inverse
 * of remote_base64_format; ${*data} is malloc'd and the caller's.  ENDPOINT.
 */
enum latentd_err remote_base64_parse(const void *body, size_t bytes,
    struct latentd_tensor *tensor, void **data, size_t *data_bytes,
    struct reason *why);

#endif
