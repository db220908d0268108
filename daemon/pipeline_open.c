/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens the stages as the configuration says, with the tables of pipeline.c,
 * and closes them again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "pipeline_private.h"

/* Of these, for administrators alone. */
#define CONNECTIONS_RESERVED 16u
/* Each connection of a liblatentd keeps four COLLECTs waiting, and asks more. */
#define REQUESTS_MAX (8 * CONFIG_CONNECTIONS_MAX)

/* ---- opening ---- */

/* The largest payload that is taken; of producers' jobs, which the spool has to
 * have room for, or they would wait for it for ever. */
static uint64_t
max_body_bytes(const struct pipeline *p)
{
	return p->config->bytes < LATENTD_MAX_BODY_BYTES
	    ? p->config->bytes
	    : LATENTD_MAX_BODY_BYTES;
}

static uint64_t
max_job_bytes(const struct pipeline *p)
{
	const uint64_t bytes = max_body_bytes(p);
	const uint64_t room_bytes = pipeline_spool_body_bytes(p);

	return bytes < room_bytes ? bytes : room_bytes;
}

static bool
open_drain(struct pipeline *p)
{
	struct drain_options options = pipeline_drain_options;

	options.arg = p;
	p->drain = drain_open(p->loop, &options);
	return p->drain != NULL;
}

/* nng's ipc listener alone is known to die (nng_1518.c). */
static bool
open_service(struct pipeline *p)
{
	struct service_options options = pipeline_service;

	for (size_t i = p->config->listen_n; i-- > 0;) {
		if (strncmp(p->config->listen[i], "ipc://", 6) == 0)
			options.socket = p->config->listen[i] + 6;
	}
	options.arg = p;
	p->service = service_open(p->loop, &options);
	return p->service != NULL;
}

static bool
open_queue(struct pipeline *p)
{
	struct queue_options options = pipeline_queue;

	options.arg = p;
	p->queue = queue_open(p->loop, &p->jobs, &options);
	p->deadlines = deadlines_open(p->loop, pipeline_on_expired, p);
	return p->queue != NULL && p->deadlines != NULL;
}

static struct dispatch_options
dispatch_options_of(const struct config *c)
{
	return (struct dispatch_options){.result_bytes_max = c->bytes,
	    .age_ms = c->age_s * 1000,
	    .attempts_max = c->attempts,
	    .hedge_percent = c->hedge_percent};
}

static bool
open_dispatch(struct pipeline *p)
{
	const struct dispatch_options options = dispatch_options_of(p->config);
	struct dispatch_sinks sinks = pipeline_dispatch;

	sinks.arg = p;
	p->dispatch = dispatch_open(p->loop, &p->jobs, &options, &sinks);
	p->transfers =
	    transfers_open(p->loop, p->instance, pipeline_on_transferred, p);
	return p->dispatch != NULL && p->transfers != NULL;
}

static bool
open_outbox(struct pipeline *p)
{
	struct outbox_options options = pipeline_outbox;
	struct buried_options buried = pipeline_buried;
	struct publish_sinks sinks = pipeline_publish;

	/* The spool's instance lasts, tags must not. */
	options.first_tag = p->run;
	options.arg = p;
	sinks.arg = p;
	buried.arg = p;
	p->outbox = outbox_open(p->loop, &p->jobs, &options);
	p->buried = buried_open(p->loop, &p->jobs, &buried);
	p->publish = publish_open(p->loop, &p->jobs, p->instance, &sinks);
	p->remember = remember_create(0, 0);
	return p->outbox != NULL && p->buried != NULL && p->publish != NULL &&
	    p->remember != NULL;
}

static bool
open_ingress(struct pipeline *p)
{
	struct ingress_sinks sinks = pipeline_ingress;
	struct admin_sinks admin = pipeline_admin;

	sinks.arg = admin.arg = p;
	p->auth =
	    auth_create(&p->jobs.producers, p->instance, p->config->insecure);
	p->admin =
	    admin_create(&p->jobs, p->auth, p->instance, geteuid(), &admin);
	p->ingress = ingress_create(
	    &p->jobs, p->auth, p->instance, max_job_bytes(p), &sinks);
	return p->auth != NULL && p->ingress != NULL && p->admin != NULL;
}

static enum latentd_err
open_door(struct pipeline *p, struct reason *why)
{
	const struct tls_pem tls = config_tls(p->config);
	struct door_options options = pipeline_door;
	enum latentd_err err;

	options.max_message_bytes =
	    (size_t)max_job_bytes(p) + MESSAGE_FRONT_BYTES;
	options.max_connections = CONFIG_CONNECTIONS_MAX;
	options.reserved_connections = CONNECTIONS_RESERVED;
	options.max_user_connections = p->config->user_connections;
	options.own_uid = geteuid();
	options.max_requests = REQUESTS_MAX;
	options.arg = p;
	err = door_open(p->loop, &options, &p->door, why);
	for (size_t i = 0; err == LATENTD_OK && i < p->config->listen_n; i++)
		err = door_listen_at(p->door, p->config->listen[i], &tls,
		    config_is_beyond(p->config->listen[i]), why);
	if (err == LATENTD_OK)
		err = publish_events(p->publish, p->config->events_listen, &tls,
		    (enum publish_events)p->config->events, why);
	return err;
}

static enum latentd_err
open_gateway(struct pipeline *p, struct reason *why)
{
	const struct gateway_options options = {.listen = p->config->http,
	    .token = p->config->http_token,
	    .deadline_ms = p->config->http_deadline_s * 1000,
	    .max_body_bytes = max_body_bytes(p)};
	struct gateway_sinks sinks = pipeline_gateway;
	enum latentd_err err;

	if (p->config->http[0] == '\0')
		return LATENTD_OK;
	sinks.arg = p;
	err =
	    gateway_open(p->loop, &p->jobs, &options, &sinks, &p->gateway, why);
	if (err != LATENTD_OK)
		return err;
	/* Only /readyz wants to know, and asking may wake up an endpoint. */
	p->probe = probe_open(p->loop, transfers_curl(p->transfers));
	if (p->probe == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	return LATENTD_OK;
}

/* ---- what may change while it runs ---- */

void
pipeline_settings(struct pipeline *p)
{
	const struct config *c = p->config;
	const struct dispatch_options dispatch = dispatch_options_of(c);
	struct producer *producer;

	producers_change(
	    &p->jobs.producers, &c->producer, c->producers, c->producers_n);
	p->jobs.producers.users.bounds = c->user;
	/* There may be room for their results now. */
	for (producer = p->jobs.producers.table; producer != NULL;
	     producer = producer->hh.next)
		queue_unpark(p->queue, producer);
	auth_change(p->auth, c->insecure);
	door_change(p->door, c->user_connections);
	queue_change(p->queue, (size_t)c->jobs, c->bytes);
	dispatch_change(p->dispatch, &dispatch);
	outbox_change(p->outbox, c->keep_s * 1000);
	buried_change(p->buried, c->bury_s * 1000);
	remember_change(p->remember, c->remember_s * 1000, (size_t)c->jobs);
	if (p->spool != NULL)
		spool_change(p->spool, c->remember_s * 1000, c->jobs);
	drain_change(p->drain, c->drain_s * UINT64_C(1000));
	if (p->gateway != NULL)
		gateway_change(
		    p->gateway, c->http_token, c->http_deadline_s * 1000);
	p->sinks.on_config(c, p->sinks.arg);
}

/* "decode/sdxl" for each lane, for WELCOME. */
static void
name_services(struct pipeline *p, const struct config *config)
{
	p->services_n = 0;
	for (size_t i = 0; i < config->endpoints_n; i++) {
		const struct config_endpoint *ep = &config->endpoints[i];
		char *name = p->service_names[p->services_n];
		bool known = false;

		if (p->services_n == SERVICES_MAX)
			return;
		snprintf(name, sizeof(p->service_names[0]), "%s/%s",
		    task_name(ep->task), ep->model->name);
		for (size_t k = 0; k < p->services_n; k++)
			known |= strcmp(name, p->service_names[k]) == 0;
		if (!known)
			p->services[p->services_n++] =
			    (struct text){name, strlen(name)};
	}
}

static void
on_endpoint_gone(const struct endpoint *ep, void *arg)
{
	struct pipeline *p = arg;

	log_info("endpoint=%s is used no more; %u requests to finish", ep->name,
	    ep->in_flight);
	probe_forget(p->probe, ep);
}

/* Idle connections that are kept: as many as may be in use. */
static unsigned
connections_n(const struct config *config)
{
	unsigned n = 0;

	for (size_t i = 0; i < config->endpoints_n; i++) {
		unsigned parallel = config->endpoints[i].parallel;

		n += parallel > 0 ? parallel : LIMIT_MOST / 8;
	}
	return n;
}

/* Those that were there have their questions already. */
static bool
probe_all(struct pipeline *p)
{
	for (size_t i = 0; i < dispatch_endpoints_n(p->dispatch); i++) {
		if (!probe_add(p->probe, dispatch_endpoint(p->dispatch, i)))
			return false;
	}
	probe_look(p->probe);
	return true;
}

enum latentd_err
pipeline_endpoints(
    struct pipeline *p, const struct config *config, struct reason *why)
{
	struct endpoint **fresh = calloc(config->endpoints_n, sizeof(*fresh));
	bool done = fresh != NULL;

	for (size_t i = 0; done && i < config->endpoints_n; i++) {
		fresh[i] = endpoint_create(&config->endpoints[i]);
		done = fresh[i] != NULL;
	}
	done = done &&
	    dispatch_endpoints(
		p->dispatch, fresh, config->endpoints_n, on_endpoint_gone, p);
	if (!done) {
		for (size_t i = 0; fresh != NULL && i < config->endpoints_n;
		     i++)
			endpoint_destroy(fresh[i]);
		free(fresh);
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	}
	free(fresh);
	name_services(p, config);
	transfers_keep(p->transfers, connections_n(config));
	/* Without questions an endpoint counts as not known, no more. */
	if (p->probe != NULL && !probe_all(p))
		log_error("no memory to ask endpoints how they are");
	return LATENTD_OK;
}

/* ---- opening and closing all ---- */

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

static void
close_stages(struct pipeline *p)
{
	door_close(p->door);
	gateway_close(p->gateway);
	ingress_destroy(p->ingress);
	admin_destroy(p->admin);
	auth_destroy(p->auth);
	probe_close(p->probe);
	transfers_close(p->transfers);
	dispatch_close(p->dispatch);
	outbox_close(p->outbox);
	buried_close(p->buried);
	remember_destroy(p->remember);
	queue_close(p->queue);
	deadlines_close(p->deadlines);
	publish_close(p->publish);
	drain_close(p->drain);
	service_close(p->service);
	metrics_destroy(p->metrics);
	spool_close(p->spool);
	reloads_destroy(p->reloads);
	config_destroy(p->config);
	uv_close((uv_handle_t *)&p->close_timer, on_closed);
}

static enum latentd_err
open_stages(struct pipeline *p, struct reason *why)
{
	enum latentd_err err;

	if ((err = pipeline_spool_open(p, why)) != LATENTD_OK)
		return err;
	p->metrics = metrics_create();
	p->reloads = reloads_create(p);
	if (p->metrics == NULL || p->reloads == NULL || !open_drain(p) ||
	    !open_service(p) || !open_queue(p) || !open_dispatch(p) ||
	    !open_outbox(p) || !open_ingress(p))
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	if ((err = open_door(p, why)) != LATENTD_OK ||
	    (err = open_gateway(p, why)) != LATENTD_OK ||
	    (err = pipeline_endpoints(p, p->config, why)) != LATENTD_OK)
		return err;
	pipeline_settings(p);
	/* Nothing has been asked yet: the loop does not run. */
	return pipeline_spool_restore(p, why);
}

enum latentd_err
pipeline_open(uv_loop_t *loop, struct config *config,
    const struct pipeline_sinks *sinks, struct pipeline **pipeline,
    struct reason *why)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	enum latentd_err err;

	if (p == NULL) {
		config_destroy(config);
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	}
	p->loop = loop;
	p->config = config;
	p->started_ns = uv_hrtime();
	p->sinks = *sinks;
	jobs_init(&p->jobs, pipeline_on_move, p);
	p->jobs.producers.users.own_uid = geteuid();
	uv_timer_init(loop, &p->close_timer);
	p->close_timer.data = p;
	if (getrandom(&p->run, sizeof(p->run), 0) != (ssize_t)sizeof(p->run))
		abort();
	p->instance = p->run;
	if ((err = open_stages(p, why)) != LATENTD_OK)
		goto close_stages;
	if (p->gateway != NULL)
		log_info("http on port %u", gateway_port(p->gateway));
	*pipeline = p;
	return LATENTD_OK;

close_stages:
	p->closing = true;
	pipeline_leave_queued(p);
	close_stages(p);
	return err;
}

const struct config *
pipeline_config(const struct pipeline *p)
{
	return p->config;
}

/* ---- draining and closing ---- */

/* End every open job, so that no attempt runs and no list holds one. */
static void
end_open_jobs(struct pipeline *p, const struct reason *why)
{
	struct job *job;
	uint64_t id = 0;

	while ((job = jobs_after(&p->jobs, id)) != NULL) {
		id = job->id;
		if (job->state == JOB_ACTIVE) {
			dispatch_cancel(p->dispatch, job, why);
		} else if (job->state == JOB_QUEUED) {
			queue_remove(p->queue, job);
			job->reason = *why;
			pipeline_end_job(p, job);
		}
	}
}

/* From the loop, so that no stage is closed below its own feet. */
static void
on_close_timer(uv_timer_t *timer)
{
	struct pipeline *p = timer->data;
	size_t kept_n;

	/* A worker cannot be stopped; its job's end comes back here. */
	if (reloads_working(p->reloads) || p->jobs.state_n[JOB_ACTIVE] > 0 ||
	    gateway_working(p->gateway) ||
	    (p->spool != NULL && spool_busy(p->spool)))
		return;
	kept_n = pipeline_unsafe_n(p);
	kept_n -= kept_n < p->lost_n ? kept_n : p->lost_n;
	if (p->jobs.buried_n > 0 && p->spool == NULL)
		log_warn("stopped with %zu failed jobs buried: their latents "
			 "are gone",
		    p->jobs.buried_n);
	if (p->lost_n > 0 || kept_n > 0)
		log_warn("stopped with %zu jobs unfinished and %zu results "
			 "not collected: their producers must submit again",
		    p->lost_n, kept_n);
	if (p->spool != NULL)
		log_info("%zu jobs stay in the spool",
		    p->left_n + p->jobs.n - kept_n);
	publish_flush(p->publish);
	close_stages(p);
}

void
pipeline_close_soon(struct pipeline *p)
{
	uv_timer_start(&p->close_timer, on_close_timer, 0, 0);
}

void
pipeline_close(struct pipeline *p)
{
	struct reason why;

	if (p->closing)
		return;
	pipeline_leave_queued(p);
	p->lost_n = pipeline_open_n(p) - pipeline_active_spooled_n(p);
	p->closing = true;
	service_stopping(p->service);
	drain_stop(p->drain);
	reason_set(&why, LATENTD_ERR_STOPPING, "the daemon was stopped");
	reloads_refuse(p->reloads, &why);
	end_open_jobs(p, &why);
	pipeline_close_soon(p);
}
