#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the packages in a new Debian tree, install them with apt in another, and
# do there what exercise.sh does:
#     tests/package/trees.sh SUITE...
# for each SUITE, bookworm or trixie.  Needs root, debootstrap, and the mirror that
# this machine's apt has.  The trees are thrown away.
set -euo pipefail
[ $# -gt 0 ] || set -- bookworm trixie
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT

die() {
	printf 'trees: %s\n' "$*" >&2
	exit 1
}

mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' \
		'Origin: Debian' 'Label: Debian' | sed -n 1p
}

# in_tree TREE [--net] COMMAND...: --net for a network of its own.
in_tree() {
	local tree=$1 own=()
	shift
	if [ "$1" = --net ]; then
		own=(--net)
		shift
	fi
	# shellcheck disable=SC2016
	unshare --mount --propagation private --pid --fork --kill-child \
		"${own[@]}" bash -euc '
		tree=$1
		shift
		mount -t proc proc "$tree/proc"
		mount --rbind /dev "$tree/dev"
		mount -t tmpfs tmpfs "$tree/run"
		mkdir -p "$tree/run/lock"
		exec chroot "$tree" env -i HOME=/ LANG=C.UTF-8 \
			DEBIAN_FRONTEND=noninteractive \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			"$@"' bash "$tree" "$@" </dev/null
}

make_base() {
	debootstrap --variant=minbase --include=ca-certificates "$1" \
		"$work/base" "$(mirror)" >"$work/log" 2>&1 || {
		tail "$work/log" >&2
		die "debootstrap $1 failed"
	}
	cp -L /etc/resolv.conf /etc/hosts "$work/base/etc/"
	# How to reach the mirror.
	apt-config dump Acquire >"$work/base/etc/apt/apt.conf.d/99acquire"
}

# For the example that is linked with the static library, too.
SUGGESTED="gcc libc6-dev pkg-config libnng-dev libjansson-dev libmbedtls-dev"

try_suite() {
	local suite=$1 msgpack=libmsgpack-c-dev
	[ "$suite" != bookworm ] || msgpack=libmsgpack-dev
	rm -rf --one-file-system "${work:?}"/{base,build,install}
	make_base "$suite"
	cp -a "$work/base" "$work/build"
	mv "$work/base" "$work/install"
	mkdir "$work/build/latentd"
	tar -c --exclude=./build --exclude=./demo-out . |
		tar -x -C "$work/build/latentd"
	in_tree "$work/build" apt-get -qq update
	in_tree "$work/build" /latentd/dev package --check >"$work/log" 2>&1 || {
		tail -n 50 "$work/log" >&2
		die "the packages cannot be built in $suite"
	}
	grep -e '^reproducible' -e '^lintian' "$work/log"
	cp -a "$work/build/latentd/build/package" "$work/install/packages"
	tests/package/newer.sh "$work/install/packages" "$work/install/newer"
	cp tests/package/exercise.sh "$work/install/"
	in_tree "$work/install" apt-get -qq update
	# shellcheck disable=SC2046,SC2086
	in_tree "$work/install" apt-get -qq install -y --no-install-recommends \
		$SUGGESTED "$msgpack" \
		$(cd "$work/install" && printf '/%s ' packages/*.deb) \
		>"$work/log" 2>&1 || {
		tail "$work/log" >&2
		die "the packages cannot be installed in $suite"
	}
	echo "ok apt-get install"
	in_tree "$work/install" --net bash /exercise.sh /packages /newer
}

for suite; do
	echo "== $suite"
	try_suite "$suite"
done
