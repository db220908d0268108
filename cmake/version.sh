#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Which version this tree is:
#     cmake/version.sh           prints it
#     cmake/version.sh HEADER    writes it there as BUILD_VERSION, where it has
#                                changed
# NEXT~gitN.gCOMMIT before the commit that is tagged vNEXT, NEXT there, and
# NEXT+gitN.gCOMMIT behind it, where NEXT is what include/latentd/version.h says;
# .dirty is added where files were changed.  Debian orders these as they came.
# A tree without a repository has it in the file VERSION, or is NEXT.
set -eu
cd "$(dirname "$0")/.."

repository() {
	git -c safe.directory="$PWD" "$@" 2>/dev/null
}

described() {
	commit=$(repository rev-parse --short=8 HEAD) || return 1
	if count=$(repository rev-list --count "v$next..HEAD"); then
		text=$next+git$count.g$commit
		[ "$count" != 0 ] || text=$next
	else
		text=$next~git$(repository rev-list --count HEAD).g$commit
	fi
	changed=$(repository --no-optional-locks status --porcelain \
		--untracked-files=no) || return 1
	printf '%s%s\n' "$text" "${changed:+.dirty}"
}

version() {
	if [ -e .git ] && described; then
		return
	fi
	if [ ! -e .git ] && [ -s VERSION ]; then
		head -n 1 VERSION
		return
	fi
	printf '%s\n' "$next"
}

next=$(sed -n 's/^#define LATENTD_VERSION "\(.*\)"$/\1/p' \
	include/latentd/version.h)
if [ $# = 0 ]; then
	version
	exit
fi
line="#define BUILD_VERSION \"$(version)\""
if [ ! -f "$1" ] || [ "$(cat "$1")" != "$line" ]; then
	mkdir -p "$(dirname "$1")"
	printf '%s\n' "$line" >"$1"
fi
