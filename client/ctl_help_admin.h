/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of --help of the operator's commands; after ctl_help.h. */
#ifndef CLIENT_CTL_HELP_ADMIN_H
#define CLIENT_CTL_HELP_ADMIN_H

#define HELP_EACH                                                        \
	"\n"                                                             \
	"  --json              a line {\"job\": ..., \"done\": true or " \
	"false, ...} for\n"                                              \
	"                      each, or {\"jobs\": how many} for all\n"

#define HELP_RIGHTS                                                          \
	"\n"                                                                 \
	"A producer may do this with its own jobs.  Root and the user that " \
	"the\ndaemon runs as may do it with all.\n"

#define HELP_JOBS                                                             \
	"usage: latentctl jobs [OPTION]...\n"                                 \
	"\n"                                                                  \
	"List jobs: all of them for root and the user that the daemon runs\n" \
	"as, for others those of their own user.  Nothing is reserved or\n"   \
	"changed by it.  A job is \"buried\" when it failed, its producer\n"  \
	"knows, and its latent is kept for latentctl kick.\n"                 \
	"\n"                                                                  \
	"  --state STATE       only those that are queued, active, done,\n"   \
	"                      failed, cancelled or expired\n"                \
	"  --failed            the same as --state failed\n"                  \
	"  --json              a JSON array\n" HELP_COMMON "\n"               \
	"With --producer only the jobs of producers of that name are listed.\n"

#define HELP_WHY                                                              \
	"usage: latentctl why ID|KEY... [OPTION]...\n"                        \
	"\n"                                                                  \
	"Say what jobs wait for: their place in the queue, endpoints that\n"  \
	"are full, the time of the next try; and what became of the latest\n" \
	"requests.\n"                                                         \
	"\n"                                                                  \
	"  --json              one JSON document for each\n" HELP_COMMON "\n" \
	"Keys are those of --producer, by default \"latentctl\".\n"

#define HELP_CANCEL                                                            \
	"usage: latentctl cancel KEY|ID... [OPTION]...\n"                      \
	"\n"                                                                   \
	"Cancel jobs by the keys that latentctl submit printed, or by their\n" \
	"ids.  They still give a result, \"cancelled\"; those that have\n"     \
	"ended are left alone.\n" HELP_EACH HELP_COMMON "\n"                   \
	"Keys are those of --producer, by default \"latentctl\"; what is no\n" \
	"key there and all digits is an id.\n" HELP_RIGHTS

#define HELP_KICK                                                               \
	"usage: latentctl kick ID... [OPTION]...\n"                             \
	"       latentctl kick --all [OPTION]...\n"                             \
	"\n"                                                                    \
	"Try failed jobs again, from the latents that they have kept.  Their\n" \
	"results go to their producers.\n"                                      \
	"\n"                                                                    \
	"  --all               all failed jobs; with --producer those of\n"     \
	"                      producers of that name\n" HELP_EACH HELP_COMMON  \
	    HELP_RIGHTS

#define HELP_PURGE                                                             \
	"usage: latentctl purge ID... [OPTION]...\n"                           \
	"       latentctl purge --all-failed [OPTION]...\n"                    \
	"\n"                                                                   \
	"Give up the latents of failed jobs for good.  A failure that its\n"   \
	"producer has not collected yet is still delivered.\n"                 \
	"\n"                                                                   \
	"  --all-failed        all failed jobs; with --producer those of\n"    \
	"                      producers of that name\n" HELP_EACH HELP_COMMON \
	    HELP_RIGHTS

#define HELP_PAUSE                                                             \
	"usage: latentctl pause in|out|both [OPTION]...\n"                     \
	"\n"                                                                   \
	"in: take no jobs; producers are told to come back later, which\n"     \
	"liblatentd does by itself.  out: make no requests to endpoints;\n"    \
	"those in flight go on.  Only for root and the user that the daemon\n" \
	"runs as.\n"                                                           \
	"\n"                                                                   \
	"  --json              {\"in\": ..., \"out\": ...}: what is paused "   \
	"now\n" HELP_COMMON

#define HELP_RESUME                                                          \
	"usage: latentctl resume in|out|both [OPTION]...\n"                  \
	"\n"                                                                 \
	"Undo latentctl pause.\n"                                            \
	"\n"                                                                 \
	"  --json              {\"in\": ..., \"out\": ...}: what is paused " \
	"now\n" HELP_COMMON

#define HELP_RELOAD                                                            \
	"usage: latentctl reload [OPTION]...\n"                                \
	"\n"                                                                   \
	"Have the daemon read its configuration again, as SIGHUP does, and\n"  \
	"say whether it was taken over: whole or not at all.  Only for root\n" \
	"and the user that the daemon runs as.\n"                              \
	"\n"                                                                   \
	"  --json              {\"reloaded\": true}, or false and why not\n" HELP_COMMON

#define HELP_DRAIN                                                             \
	"usage: latentctl drain [OPTION]...\n"                                 \
	"\n"                                                                   \
	"Have the daemon take no more jobs, finish those it has, wait until\n" \
	"their results are collected, and end; as SIGTERM does.  Says how\n"   \
	"far it is until the daemon has ended.  A side that is paused stays\n" \
	"paused.  Only for root and the user that the daemon runs as.\n"       \
	"\n"                                                                   \
	"  --no-wait           return at once\n"                               \
	"  --json              {\"jobs\": ..., \"results\": ..., "             \
	"\"left_ms\": ...}, a\n"                                               \
	"                      line for each change\n" HELP_COMMON

#define HELP_TOP                                                              \
	"usage: latentctl top [OPTION]...\n"                                  \
	"\n"                                                                  \
	"Show queue, endpoints and producers, once a second, until q is\n"    \
	"pressed.  Where standard output is no terminal, one picture after\n" \
	"the other is printed.\n"                                             \
	"\n"                                                                  \
	"  --once              one picture only\n"                            \
	"  --json              the daemon's report, once\n" HELP_COMMON

#define HELP_WATCH                                                             \
	"usage: latentctl watch [OPTION]...\n"                                 \
	"\n"                                                                   \
	"Print every change of a job's state as a line, until interrupted.\n"  \
	"The daemon must send events: events = state, or image, in [daemon]\n" \
	"of its configuration.  Events are a hint and may get lost.\n"         \
	"\n"                                                                   \
	"  --events URL        where they are sent; default: the daemon is\n"  \
	"                      asked\n"                                        \
	"  --json              a JSON object a line\n" HELP_COMMON

#define HELP_SPOOL                                                              \
	"usage: latentctl spool check|stat|export [DIR] [OPTION]...\n"          \
	"\n"                                                                    \
	"Look at the spool in DIR while no daemon uses it; without DIR,\n"      \
	"/var/lib/latentd/spool.  Nothing in it is changed.\n"                  \
	"\n"                                                                    \
	"check reads all of it and names what is damaged.  stat counts jobs,\n" \
	"latents, results and producers.  export writes what producers are\n"   \
	"still owed: latents of jobs that are not done as job-ID.safetensors\n" \
	"with all that is needed to submit them again, results that were not\n" \
	"collected as result-ID.png and so on, and manifest.jsonl, a JSON\n"    \
	"object a line for each file.  latentctl submit and decode take\n"      \
	"model, size, format and priority from such a file.\n"                  \
	"\n"                                                                    \
	"  --out DIR           export: where to write, made if missing;\n"      \
	"                      default .\n"                                     \
	"  --force             export: replace files that exist\n"              \
	"  --quiet             no list of files; errors only\n"                 \
	"  --json              the same as a JSON object\n"                     \
	"  --help, --version\n"                                                 \
	"\n"                                                                    \
	"Exit status: 0 all is whole, 1 something is damaged or could not be\n" \
	"read or written, 5 a daemon uses the spool.\n"

#endif
