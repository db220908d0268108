#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages of this tree, with what is not committed yet:
#     packaging/build.sh OUTPUT [SOURCE]
# They are built from a copy, in SOURCE if it is named (it must not exist), and
# only .deb files go into OUTPUT.  The same commit gives the same bytes.
set -euo pipefail
output=${1:?usage: packaging/build.sh OUTPUT [SOURCE]}
mkdir -p "$output"
output=$(realpath "$output")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=${2:-$work/latentd}
mkdir -p "$source"
source=$(realpath "$source")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repository() {
	git -c safe.directory="$PWD" "$@"
}

# The names of the files that belong to the tree, each ended by a zero byte.
files() {
	if [ -e .git ]; then
		repository ls-files -z --cached --others --exclude-standard
	else
		find . -path ./build -prune -o -path ./demo-out -prune -o \
			! -type d -print0
	fi | while IFS= read -r -d '' name; do
		[ ! -e "$name" ] || printf '%s\0' "$name"
	done
}

# debian/changelog is that of the version that version.h names; another one gets
# its own, with the time of its commit.
changelog() {
	local version maintainer date
	version=$(cat VERSION)
	[ "$version" != "$(dpkg-parsechangelog -S Version)" ] || return 0
	maintainer=$(sed -n 's/^Maintainer: //p' debian/control)
	date=$(date -uR -d "@$1")
	cat >debian/changelog <<-TEXT
		latentd ($version) unstable; urgency=medium

		  * Between versions; CHANGELOG.md says what has changed.

		 -- $maintainer  $date
	TEXT
}

version=$(cmake/version.sh)
time=$(repository log -1 --format=%ct 2>/dev/null ||
	dpkg-parsechangelog -S Timestamp)
files | tar -c --null -T - | tar -x -C "$source"
cd "$source"
printf '%s\n' "$version" >VERSION
changelog "$time"
# Packages keep the times of files that are older than their changelog.
find . -exec touch -h -d "@$time" {} +
# They would say that a program is built in the tree of another.
unset DESTDIR MAKEFLAGS MAKELEVEL
export DEB_BUILD_OPTIONS="nocheck noautodbgsym ${DEB_BUILD_OPTIONS:-parallel=$(
	nproc)}"
dpkg-buildpackage --build=binary --no-sign
# Beside the source, where dpkg puts them.
rm -f "$output"/*.deb
sed -n 's/^\(\S*\.deb\) .*/\1/p' debian/files |
	while IFS= read -r name; do
		mv "../$name" "$output"
	done
