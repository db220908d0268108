#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the packages a second time, elsewhere, with another umask, locale, time
# zone and parallelism, and compare:
#     packaging/check.sh PACKAGES
# where PACKAGES is what packaging/build.sh has written.  Then lintian.
set -euo pipefail
packages=$(realpath "${1:?usage: packaging/check.sh PACKAGES}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(
	umask 027
	export LC_ALL=C TZ=Pacific/Apia
	DEB_BUILD_OPTIONS=parallel=$(($(nproc) + 1))
	export DEB_BUILD_OPTIONS
	packaging/build.sh "$work/again" \
		"$work/a directory/with-a-much-longer-name/latentd"
) >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	exit 1
}
diff -r "$packages" "$work/again" || {
	echo "check: another build gave other packages" >&2
	exit 1
}
echo "reproducible: $(find "$packages" -name '*.deb' | wc -l) packages"
lintian --allow-root --fail-on error,warning --tag-display-limit 0 \
	"$packages"/*.deb
echo "lintian: nothing"
