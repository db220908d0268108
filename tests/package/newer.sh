#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packages of a later version, with the same contents:
#     tests/package/newer.sh PACKAGES NEWER
set -euo pipefail
packages=${1:?usage: newer.sh PACKAGES NEWER}
newer=${2:?usage: newer.sh PACKAGES NEWER}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$newer"
for package in "$packages"/*.deb; do
	rm -rf "$work/tree"
	dpkg-deb -R "$package" "$work/tree"
	sed -i 's/^\(Version: .*\)$/\1.newer/
		s/\(liblatentd0 (= [^)]*\)/\1.newer/' "$work/tree/DEBIAN/control"
	dpkg-deb --root-owner-group -Znone -b "$work/tree" \
		"$newer/$(basename "$package")" >/dev/null
done
