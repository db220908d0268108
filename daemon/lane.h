/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_LANE_H
#define DAEMON_LANE_H

#include "job.h"

/*
 * All jobs of one model and task wait in one lane, and the endpoints that can
 * do them serve it; a lane whose endpoints are busy holds up no other.
 */
struct lane {
	const struct model *model;
	enum latentd_task task;
	struct job_list waiting; /* queue.c's: QUEUED, to be started */
	size_t waiting_n;
	struct job *again; /* queue.c's: at the front of ${waiting} are
	                                 * those tried before; the last of them */
	struct job_list begun; /* dispatch.c's: ACTIVE, with parts
	                                 * that no attempt runs for yet */
	struct endpoint **endpoints; /* dispatch.c's */
	size_t endpoints_n;
	size_t next; /* where the next search begins */
};

#endif
