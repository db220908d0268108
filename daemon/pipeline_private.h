/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pipeline.c (the arrows) and pipeline_open.c (opening and closing of the
 * stages) share, and nobody else includes.
 */
#ifndef DAEMON_PIPELINE_PRIVATE_H
#define DAEMON_PIPELINE_PRIVATE_H

#include "admin.h"
#include "auth.h"
#include "base/door.h"
#include "buried.h"
#include "deadline.h"
#include "dispatch.h"
#include "drain.h"
#include "gateway.h"
#include "ingress.h"
#include "metrics.h"
#include "outbox.h"
#include "pipeline.h"
#include "probe.h"
#include "publish.h"
#include "queue.h"
#include "remember.h"
#include "service.h"
#include "spool.h"
#include "transfer.h"

#define SERVICES_MAX 16u

struct pipeline {
	uv_loop_t *loop;
	struct config *config;
	struct jobs jobs;
	uint64_t instance; /* what clients know the daemon by; the spool's */
	uint64_t run; /* of this process only */
	uint64_t started_ns;

	struct auth *auth;
	struct door *door;
	struct gateway *gateway;
	struct ingress *ingress;
	struct queue *queue;
	struct deadlines *deadlines;
	struct dispatch *dispatch;
	struct transfers *transfers;
	struct outbox *outbox;
	struct remember *remember;
	struct spool *spool; /* NULL: none is configured */
	struct buried *buried;
	struct admin *admin;
	struct publish *publish;
	struct probe *probe; /* NULL: nobody asks whether we are ready */
	struct metrics *metrics;

	char service_names[SERVICES_MAX][LATENTD_MAX_NAME_BYTES + 8];
	struct text services[SERVICES_MAX];
	size_t services_n;

	struct drain *drain;
	struct service *service;
	bool paused_in; /* no job is taken; dispatch has the other side */
	bool closing;
	struct reloads *reloads;
	uv_timer_t close_timer;
	size_t lost_n; /* open jobs at the end */
	size_t left_n; /* jobs that stay in the spool */
	struct pipeline_sinks sinks;
};

/*
 * What each stage passes on and to whom: pipeline.c's functions, for stages to
 * be opened with.  Every .arg, and what is a number, is still to be set.
 */
extern const struct door_options pipeline_door;
extern const struct ingress_sinks pipeline_ingress;
extern const struct gateway_sinks pipeline_gateway;
extern const struct queue_options pipeline_queue;
extern const struct dispatch_sinks pipeline_dispatch;
extern const struct outbox_options pipeline_outbox;
extern const struct buried_options pipeline_buried;
extern const struct admin_sinks pipeline_admin;
extern const struct publish_sinks pipeline_publish;
extern const struct drain_options pipeline_drain_options;
extern const struct service_options pipeline_service;

/* pipeline_on_move(job, from, arg): every change of state, for jobs.on_move.
 * pipeline_on_transferred(attempt, arg): transfer's sink. */
void pipeline_on_move(const struct job *job, enum job_state from, void *arg);
void pipeline_on_transferred(struct attempt *attempt, void *arg);

/* pipeline_on_expired(job, arg): deadlines' sink. */
void pipeline_on_expired(struct job *job, void *arg);

/* pipeline_on_ask(request, type, in, arg): ingress's sink for what
 * pipeline_admin.c answers; pipeline_on_report(arg), pipeline_on_metrics(arg),
 * pipeline_on_ready(why, arg): what is asked about the whole daemon.
 * pipeline_on_failed(job, arg), pipeline_on_replace(job, arg): failed jobs that
 * go from the outbox to the buried, and from there. */
void pipeline_on_ask(struct door_request *request, enum message_type type,
    const union message_any *in, void *arg);
char *pipeline_on_report(void *arg);
char *pipeline_on_metrics(void *arg);
enum latentd_err pipeline_on_ready(struct reason *why, void *arg);
void pipeline_on_failed(struct job *job, void *arg);
void pipeline_on_replace(struct job *job, void *arg);

/* pipeline_busy(p, producer, bytes): why no job of that size can be taken now;
 * ${producer} NULL: of anybody's.
 * pipeline_spool_busy(p, bytes, busy): whether the spool speaks against it.
 * pipeline_spool_body_bytes(p): the largest body that it ever has room for. */
struct job_busy pipeline_busy(
    const struct pipeline *p, const struct producer *producer, uint64_t bytes);
uint64_t pipeline_spool_body_bytes(const struct pipeline *p);
bool pipeline_spool_busy(
    const struct pipeline *p, uint64_t bytes, struct job_busy *busy);

/* pipeline_take(p, job): queue a NEW job; false when memory is out. */
bool pipeline_take(struct pipeline *p, struct job *job);

/*
 * pipeline_spool.c: pipeline_spool_open() before and pipeline_spool_restore()
 * after the stages that take what is restored.
 * pipeline_leave(p, job): forget a job that is in no stage and in the spool.
 * pipeline_leave_queued(p): all that wait.
 * pipeline_note(p, job): have it written how far a job is, if it is spooled.
 * pipeline_tried(p, job): a job waits to be tried again, perhaps not in memory.
 * pipeline_active_spooled_n(p): spooled jobs that are active.
 */
enum latentd_err pipeline_spool_open(struct pipeline *p, struct reason *why);
enum latentd_err pipeline_spool_restore(struct pipeline *p, struct reason *why);
void pipeline_leave(struct pipeline *p, struct job *job);
void pipeline_leave_queued(struct pipeline *p);
void pipeline_note(struct pipeline *p, struct job *job);
void pipeline_tried(struct pipeline *p, struct job *job);
size_t pipeline_active_spooled_n(const struct pipeline *p);
struct job_busy pipeline_on_busy(
    const struct producer *producer, uint64_t bytes, void *arg);
enum ingress_take pipeline_on_accept(struct job *job,
    const struct message_submit *submit, const struct intake *intake,
    void *arg);
bool pipeline_on_start(struct attempt *attempt, void *arg);
const struct job *pipeline_on_take(
    struct producer *producer, uint32_t pipe, void *arg);
void pipeline_on_copied(const struct job *job, void *arg);
void pipeline_on_noticed(struct job *job, void *arg);
void pipeline_on_forget(const struct job *job, bool acked, void *arg);

/* pipeline_unsafe_n(p): results that only memory has, and what is being
 * written. */
size_t pipeline_unsafe_n(const struct pipeline *p);

/* pipeline_cancel(job, why, arg): end a job that is open, wherever it is.
 * pipeline_on_room(producer, arg): memory of ${producer}'s was given back. */
void pipeline_cancel(struct job *job, const struct reason *why, void *arg);
void pipeline_on_room(struct producer *producer, void *arg);

/* pipeline_open_n(p): jobs that have not ended. */
size_t pipeline_open_n(const struct pipeline *p);

/* pipeline_end_job(p, job): a job that no stage holds has ended, as its reason
 * says. */
void pipeline_end_job(struct pipeline *p, struct job *job);

/*
 * pipeline_settings(p): hand what the configuration in force says, beside its
 * endpoints, to the stages that are open.
 * pipeline_endpoints(p, config): use the endpoints of ${config} from now on.
 * MEMORY: nothing is changed.
 */
void pipeline_settings(struct pipeline *p);
enum latentd_err pipeline_endpoints(
    struct pipeline *p, const struct config *config, struct reason *why);

/*
 * reloads_create(p): NULL when memory is out.  reloads_destroy(): none may be
 * under way.
 * reloads_ask(r, request): as pipeline_reload(), and answer the request of an
 * administrator when it is over; NULL: nobody asks.
 * reloads_working(r): whether a worker reads; pipeline_close_soon() follows.
 * reloads_refuse(r, why): answer who waits still; nothing is read any more.
 * reloads_last(r): how the last one went; OK at first.
 * pipeline_warn_of_lanes(p): log where jobs wait that no endpoint does.
 */
struct reloads *reloads_create(struct pipeline *p);
void reloads_destroy(struct reloads *r);
void reloads_ask(struct reloads *r, struct door_request *request);
bool reloads_working(const struct reloads *r);
void reloads_refuse(struct reloads *r, const struct reason *why);
const struct reason *reloads_last(const struct reloads *r);
void pipeline_warn_of_lanes(const struct pipeline *p);

/* pipeline_close_soon(p): while closing, look whether the stages can be. */
void pipeline_close_soon(struct pipeline *p);

#endif
