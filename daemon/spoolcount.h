/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SPOOLCOUNT_H
#define DAEMON_SPOOLCOUNT_H

#include <stdbool.h>
#include <stdint.h>

/* What the spool has done and how full it is, for reports and metrics. */
struct spool_counts {
	uint64_t size_bytes; /* of the map */
	uint64_t used_bytes; /* of it, after the last commit */
	uint64_t commits_n;
	uint64_t written_n; /* changes in them */
	uint64_t errors_n; /* failed commits */
	uint64_t aside_n; /* jobs whose records were set aside, ever */
	uint64_t lost_n; /* latents and results that could not be read back */
	bool failed; /* nothing is written until an operator resumes */
};

#endif
