/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "auth.h"
#include "base/door.h"
#include "job.h"

struct admin;

struct admin_sinks {
	/* End an open job; ${by} goes into its reason. */
	void (*cancel)(struct job *job, const char *by, void *arg);
	/* Whether nothing may be queued any more. */
	bool (*stopping)(void *arg);
	/* Queue a FAILED job again that has its latent still; take its latent
	 * away for good.  An undelivered failure is delivered all the same. */
	void (*kick)(struct job *job, void *arg);
	void (*purge)(struct job *job, void *arg);
	/* Stop taking jobs (in) or starting requests (out), or go on. */
	void (*pause)(enum admin_side side, bool paused, void *arg);
	void (*drain)(void *arg);
	/* What is known of jobs as a malloc'd JSON document: of ${n}, in a few
	 * words each, or everything of one. */
	char *(*list)(
	    struct job *const *jobs, size_t n, uint64_t next, void *arg);
	char *(*why)(const struct job *job, void *arg);
	void *arg;
};

/* admin_create(jobs, auth, instance, own_uid, sinks): ${own_uid} is the
 * daemon's, ${auth} stays the caller's.  NULL when memory is out.
 * admin_destroy(a): NULL is a no-op. */
struct admin *admin_create(struct jobs *jobs, struct auth *auth,
    uint64_t instance, uint64_t own_uid, const struct admin_sinks *sinks);
void admin_destroy(struct admin *a);

/*
 * admin_answer(a, peer, type, in):
 * Do what a CANCEL, LIST, WHY or ADMIN of ${peer} asks for, as far as ${peer}
 * may, and return the reply, which is the caller's.  NULL: a RELOAD that is
 * permitted, which the caller does, and answers when it is over.
 *
 * A producer may see all jobs of its uid (without one: its own), and cancel,
 * kick and purge its own.  The rest is for administrators (peer.h), who need not
 * prove that they are the producer that they name.
 */
nng_msg *admin_answer(struct admin *a, const struct door_peer *peer,
    enum message_type type, const union message_any *in);

#endif
