#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run a command as root on what looks like this machine, without changing it:
#     tests/package/overlay.sh DIR COMMAND [ARGUMENT...]
# What it writes goes into memory and is gone when it ends, as is every process
# that it started.  DIR is /mnt there.  It has a loopback of its own and no other
# network, and no systemd runs.
set -euo pipefail
dir=$(realpath "${1:?usage: tests/package/overlay.sh DIR COMMAND...}")
shift
root=$(mktemp -d)
trap 'rmdir "$root"' EXIT
# shellcheck disable=SC2016
unshare --mount --propagation private --pid --fork --kill-child --net \
	bash -euo pipefail -c '
	root=$1 dir=$2
	shift 2
	mount -t tmpfs tmpfs "$root"
	mkdir "$root"/{upper,work,merged,dir}
	mount --bind "$dir" "$root/dir"
	mount -t overlay overlay "$root/merged" \
		-o "lowerdir=/,upperdir=$root/upper,workdir=$root/work"
	mount --move "$root/dir" "$root/merged/mnt"
	root=$root/merged
	mount -t proc proc "$root/proc" || mount --rbind /proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/run"
	mount -t tmpfs tmpfs "$root/tmp"
	chmod 1777 "$root/tmp"
	mkdir -p "$root/run/lock"
	exec chroot "$root" "$@"' bash "$root" "$dir" "$@"
