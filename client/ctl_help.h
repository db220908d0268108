/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of --help. */
#ifndef CLIENT_CTL_HELP_H
#define CLIENT_CTL_HELP_H

#define HELP_MAIN                                                               \
	"usage: latentctl COMMAND [OPTION]... [ARGUMENT]...\n"                  \
	"\n"                                                                    \
	"Push latents to a latentd daemon and collect finished images.\n"       \
	"\n"                                                                    \
	"  decode FILE...   decode latents and write the pictures\n"            \
	"  encode FILE...   encode pictures and write the latents\n"            \
	"  submit FILE...   leave jobs with the daemon and return\n"            \
	"  collect          write the results of jobs that were left\n"         \
	"  status           say what the daemon is doing\n"                     \
	"  jobs             list jobs, of all states or one\n"                  \
	"  why ID|KEY...    say what jobs wait for, or why they failed\n"       \
	"  cancel KEY|ID... cancel jobs\n"                                      \
	"  kick ID...       try failed jobs again\n"                            \
	"  purge ID...      give failed jobs up\n"                              \
	"  pause in|out     stop taking jobs, or making requests\n"             \
	"  resume in|out    go on\n"                                            \
	"  reload           have the daemon read its configuration again\n"     \
	"  drain            let the daemon finish its jobs and end\n"           \
	"  top              show what the daemon is doing, live\n"              \
	"  watch            print events as they come\n"                        \
	"  spool            look at a spool while no daemon runs, or save it\n" \
	"\n"                                                                    \
	"latentctl COMMAND --help explains each.\n"                             \
	"\n"                                                                    \
	"Exit status: 0 all done, 1 something failed, 2 wrong usage, 3 no\n"    \
	"daemon answers, 4 out of time, 5 the daemon was busy, 130\n"           \
	"interrupted; 4 and 5 also where that is all that jobs failed\n"        \
	"with.\n"

#define HELP_COMMON                                                             \
	"\n"                                                                    \
	"  --url URL           where the daemon listens; default $LATENTD_URL," \
	"\n"                                                                    \
	"                      else ipc:///run/latentd/latentd.sock\n"          \
	"  --producer NAME     under whose name; see below for the default\n"   \
	"  --secret-file FILE  secret that belongs to the name; default\n"      \
	"                      $LATENTD_SECRET_FILE\n"                          \
	"  --tls-ca FILE       for tls+tcp://: who signed the daemon's\n"       \
	"                      certificate; default $LATENTD_TLS_CA\n"          \
	"  --tls-cert FILE     this side's certificate and its key; default\n"  \
	"  --tls-key FILE      $LATENTD_TLS_CERT and $LATENTD_TLS_KEY\n"        \
	"  --tls-name NAME     name that the daemon's certificate must have;\n" \
	"                      default $LATENTD_TLS_NAME, else the URL's\n"     \
	"  --timeout S         give up after so many seconds; default never\n"  \
	"  --quiet             no progress, no notes; errors only\n"            \
	"  --help, --version   print this, or the version, and exit\n"

#define HELP_LATENTS                                                        \
	"Latents are .safetensors, ComfyUI's .latent or .npy files, or -\n" \
	"for standard input; the content decides, not the name.\n"

#define HELP_DECODE_OPTIONS                                                      \
	"  --model M           sd-v1, sdxl, flux or hunyuan-video; default by\n" \
	"                      the file, where latentctl wrote it\n"             \
	"  --format F          png, jpg, mp4, npy (uint8 pixels [N,H,W,3]) or\n" \
	"                      safetensors (floats [N,3,H,W] in [-1,1]);\n"      \
	"                      default png, for video models mp4\n"              \
	"  --width W           size of the picture in pixels, both required\n"   \
	"  --height H          for packed latents [N,P,4C]\n"                    \
	"  --space SPACE       model (scaled, as diffusers gives it) or vae\n"   \
	"                      (as ComfyUI's .latent holds it); default by\n"    \
	"                      the file, model where it does not say\n"          \
	"  --tensor NAME       which tensor of a .safetensors\n"                 \
	"  --dtype T           send it as float16, bfloat16 or float32\n"

#define HELP_ORDER                                                               \
	"  --priority P        urgent, high, normal (default) or low\n"          \
	"  --deadline S        within how many seconds each job must be done;\n" \
	"                      one that is late is not sent any more\n"          \
	"  --refuse-late       with --deadline: fail at once when the daemon\n"  \
	"                      expects to miss it\n"                             \
	"  --busy-timeout S    how many seconds a busy daemon may refuse a\n"    \
	"                      job, 0 to fail at once; default for ever\n"

#define HELP_DISCONNECT                                                      \
	"  --cancel-on-disconnect  have the daemon cancel what is pending\n" \
	"                      when this command is killed\n"

#define HELP_OUT                                                                \
	"  --out DIR           where to write, made if missing; default here\n" \
	"  --force             replace files that exist; without it they are\n" \
	"                      an error\n"

#define HELP_DECODE                                                                    \
	"usage: latentctl decode FILE... --model M [OPTION]...\n"                      \
	"\n"                                                                           \
	"Decode latents and write the pictures as NAME.png beside --out; a\n"          \
	"batch as NAME-0.png and so on, frames as NAME-0000.png.  Metadata\n"          \
	"of the file (prompt, workflow, parameters) goes into the PNG.\n" HELP_LATENTS \
	"\n" HELP_DECODE_OPTIONS HELP_ORDER HELP_DISCONNECT HELP_OUT                   \
	"                      With --out - the only result goes to standard\n"        \
	"                      output.\n" HELP_COMMON "\n"                             \
	"Without --producer the jobs belong to this command alone.  Ctrl-C\n"          \
	"cancels what is pending; a second one exits at once.\n"

#define HELP_ENCODE                                                                        \
	"usage: latentctl encode FILE... --model M [OPTION]...\n"                          \
	"\n"                                                                               \
	"Encode pictures (PNG or JPEG, or a tensor [N,3,H,W] in [-1,1] as\n"               \
	".safetensors or .npy; - for standard input) and write the latents\n"              \
	"as NAME.safetensors.\n"                                                           \
	"\n"                                                                               \
	"  --model M           sd-v1, sdxl or flux\n"                                      \
	"  --format F          safetensors (default) or npy; npy has no\n"                 \
	"                      bfloat16, which becomes float32\n"                          \
	"  --space SPACE       model (default) or vae values\n"                            \
	"  --tensor NAME       which tensor of a .safetensors\n"                           \
	"  --dtype T           send a tensor as float16, bfloat16 or float32\n" HELP_ORDER \
	    HELP_DISCONNECT HELP_OUT                                                       \
	"                      With --out - the only result goes to standard\n"            \
	"                      output.\n" HELP_COMMON "\n"                                 \
	"Without --producer the jobs belong to this command alone.\n"

#define HELP_SUBMIT                                                              \
	"usage: latentctl submit FILE... --model M [OPTION]...\n"                \
	"\n"                                                                     \
	"Leave jobs with the daemon and return as soon as it has accepted\n"     \
	"them.  Prints a line KEY<TAB>FILE for each; latentctl collect\n"        \
	"writes the results under their keys.\n" HELP_LATENTS "\n"               \
	"  --task T            decode (default) or encode\n" HELP_DECODE_OPTIONS \
	    HELP_ORDER HELP_COMMON "\n"                                          \
	"The default producer is \"latentctl\", for submit, collect and\n"       \
	"cancel alike.\n"

#define HELP_COLLECT                                                                     \
	"usage: latentctl collect [OPTION]...\n"                                         \
	"\n"                                                                             \
	"Write the results that are finished, as KEY.png and so on, and tell\n"          \
	"the daemon that they are safe.  Prints the name of each file.\n"                \
	"\n"                                                                             \
	"  --all               wait until nothing is left under the name\n"              \
	"  --wait S            the same, but at most so many seconds\n"                  \
	"  --format F          for latents and other tensors: safetensors or\n"          \
	"                      npy; default npy for pixels, else safetensors\n" HELP_OUT \
	    HELP_COMMON "\n"                                                             \
	"The default producer is \"latentctl\".  Exit status 4 when --wait or\n"         \
	"--timeout ended it with jobs left.\n"

#define HELP_STATUS                             \
	"usage: latentctl status [OPTION]...\n" \
	"\n"                                    \
	"Say what the daemon is doing.\n"       \
	"\n"                                    \
	"  --json              the daemon's report as it is\n" HELP_COMMON

#endif
