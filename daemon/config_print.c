/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox.h"
#include "config.h"

static void
print_endpoint(const struct config_endpoint *ep, FILE *out)
{
	fprintf(out, "\n[endpoint %s]\nmodel = %s\ntask = %s\nurl = %s\n",
	    ep->name, ep->model->name,
	    ep->task == LATENTD_DECODE ? "decode" : "encode", ep->url);
	if (ep->parallel == 0)
		fprintf(out, "parallel = auto\n");
	else
		fprintf(out, "parallel = %u\n", ep->parallel);
	fprintf(out, "weight = %u\nbackup = %s\n", ep->weight,
	    ep->backup ? "yes" : "no");
	if (ep->health[0] != '\0')
		fprintf(out, "health = %s\n", ep->health);
	fprintf(out,
	    "connect_s = %u\nstall_s = %u\nthink_s = %u\ntotal_s = %u\n"
	    "scale_up_s = %u\n",
	    ep->times.connect_s, ep->times.stall_s, ep->times.think_s,
	    ep->times.total_s, ep->times.scale_up_s);
	if (ep->token != NULL)
		fprintf(out, "token_file = %s\n", ep->token_file);
}

static void
print_sandbox(const struct config *c, FILE *out)
{
	struct reason what;

	fprintf(out, "sandbox = %s\n", c->sandbox ? "auto" : "no");
	if (!c->sandbox)
		return;
	(void)sandbox_supported(&what);
	fprintf(out, "# here: %s\n", what.text);
}

static void
print_file(const char *key, const struct config_file *file, FILE *out)
{
	if (file->content != NULL)
		fprintf(out, "%s = %s\n", key, file->path);
}

void
config_print(const struct config *c, FILE *out)
{
	static const char *const events[] = {"none", "state", "image"};

	fprintf(out, "[daemon]\n");
	for (size_t i = 0; i < c->listen_n; i++)
		fprintf(out, "listen = %s\n", c->listen[i]);
	fprintf(out, "events = %s\n", events[c->events]);
	if (c->events != 0)
		fprintf(out, "events_listen = %s\n", c->events_listen);
	if (c->http[0] != '\0')
		fprintf(out, "http = %s\nhttp_deadline_s = %llu\n", c->http,
		    (unsigned long long)c->http_deadline_s);
	if (c->http_token != NULL)
		fprintf(out, "http_token_file = %s\n", c->http_token_file);
	fprintf(out, "insecure = %s\nuser_connections = %u\n",
	    c->insecure ? "yes" : "no", c->user_connections);
	print_file("tls_certificate", &c->tls_certificate, out);
	print_file("tls_key", &c->tls_key, out);
	print_file("tls_client_ca", &c->tls_client_ca, out);
	fprintf(out, "drain_s = %u\n", c->drain_s);
	print_sandbox(c, out);
	fprintf(out,
	    "log_level = %s\nlog_format = %s\n\n[queue]\njobs = %llu\nbytes = %llu\n"
	    "keep_s = %llu\nbury_s = %llu\nremember_s = %llu\nage_s = %llu\n"
	    "attempts = %u\nhedge_percent = %u\n"
	    "producer_jobs = %llu\nproducer_bytes = %llu\n"
	    "user_jobs = %llu\nuser_bytes = %llu\n",
	    log_level_name(c->log_level), log_format_name(c->log_format),
	    (unsigned long long)c->jobs, (unsigned long long)c->bytes,
	    (unsigned long long)c->keep_s, (unsigned long long)c->bury_s,
	    (unsigned long long)c->remember_s, (unsigned long long)c->age_s,
	    c->attempts, c->hedge_percent,
	    (unsigned long long)c->producer.jobs_max,
	    (unsigned long long)c->producer.bytes_max,
	    (unsigned long long)c->user.jobs_max,
	    (unsigned long long)c->user.bytes_max);
	if (c->spool_path[0] != '\0')
		fprintf(out,
		    "\n[spool]\npath = %s\nsize = %llu\ndurability = %s\n",
		    c->spool_path, (unsigned long long)c->spool_bytes,
		    c->spool_durable ? "spooled" : "none");
	for (size_t i = 0; i < c->producers_n; i++) {
		const struct producer_rule *rule = &c->producers[i];

		fprintf(out,
		    "\n[producer %s]\nweight = %u\njobs = %llu\n"
		    "bytes = %llu\n",
		    rule->name, rule->bounds.weight,
		    (unsigned long long)rule->bounds.jobs_max,
		    (unsigned long long)rule->bounds.bytes_max);
		if (rule->secret_bytes > 0)
			fprintf(out, "secret_file = %s\n", rule->secret_file);
	}
	for (size_t i = 0; i < c->endpoints_n; i++)
		print_endpoint(&c->endpoints[i], out);
}
