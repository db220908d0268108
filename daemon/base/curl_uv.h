/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface on a uv loop.  Loop thread only.
 */
#ifndef BASE_CURL_UV_H
#define BASE_CURL_UV_H

#include <curl/curl.h>
#include <uv.h>

struct curl_uv;

/*
 * curl_uv_open(loop, max_connections): NULL when memory is out.
 * ${max_connections} is how many idle connections are kept for reuse.
 */
struct curl_uv *curl_uv_open(uv_loop_t *loop, unsigned max_connections);

/* curl_uv_keep(cu, max_connections): from now on. */
void curl_uv_keep(struct curl_uv *cu, unsigned max_connections);

/*
 * curl_uv_start(cu, easy, on_done, arg):
 * Run ${easy}.  ${on_done}(easy, code, arg) is called once, never from inside
 * this call; ${easy} has left the multi by then and is the caller's again.
 * Uses CURLOPT_PRIVATE and the callbacks that open and close sockets.  Returns
 * 0, or -1 when curl refused it (no call then).
 */
int curl_uv_start(struct curl_uv *cu, CURL *easy,
    void (*on_done)(CURL *easy, CURLcode code, void *arg), void *arg);

/* curl_uv_stop(cu, easy): abort a running ${easy}; on_done is not called.  Not
 * from inside curl's callbacks. */
void curl_uv_stop(struct curl_uv *cu, CURL *easy);

/* curl_uv_close(cu): every easy handle must have been stopped or done. */
void curl_uv_close(struct curl_uv *cu);

#endif
