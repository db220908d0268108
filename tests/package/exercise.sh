#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What packages do to a machine, from their installation to their end:
#     exercise.sh PACKAGES NEWER
# with two directories of .deb files, the second of a later version.  It installs
# and purges for real: run it only in a tree that may be thrown away, as root and
# with a loopback that is down and nobody uses.  What the packages depend on, a C
# compiler, pkg-config and what the library's pkg-config file names must be there.
# Prints "ok STEP" for each step; the first that fails ends it.
set -eEuo pipefail
packages=${1:?usage: exercise.sh PACKAGES NEWER}
newer=${2:?usage: exercise.sh PACKAGES NEWER}
NAMES=(latentd latentctl liblatentd0 liblatentd-dev)
CONFIG=/etc/latentd/latentd.conf
AS_LATENTD=(setpriv --reuid=latentd --regid=latentd --init-groups)
AS_MEMBER=(setpriv --reuid=nobody --regid=nogroup --groups=latentd)
AS_OTHER=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
work=$(mktemp -d)
chmod 755 "$work"

die() {
	printf 'exercise: %s\n' "$*" >&2
	exit 1
}

# "! COMMAND" alone would not end the script.
not() {
	if "$@"; then
		die "this should have failed: $*"
	fi
}

# ---- the machine ----

# Loopback without the package iproute2: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING.
loopback_up() {
	perl -MSocket -e 'socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
		my $up = pack("a16sx22", "lo", 0x41);
		ioctl($s, 0x8914, $up) or die $!'
}

# As if systemd ran: what it is told is written to a file.
fake_systemd() {
	rm -f /usr/sbin/policy-rc.d
	mkdir -p /run/systemd/system "$work/bin"
	cat >"$work/bin/systemctl" <<-TEXT
		#!/bin/sh
		echo "\$*" >>"$work/systemctl.log"
	TEXT
	chmod 755 "$work/bin/systemctl"
	export PATH="$work/bin:$PATH"
	told_forget
}

told() {
	grep -q -e "$1" "$work/systemctl.log"
}

told_forget() {
	: >"$work/systemctl.log"
}

package_tool() {
	dpkg --force-unsafe-io "$@" </dev/null >"$work/dpkg.log" 2>&1 || {
		cat "$work/dpkg.log" >&2
		die "dpkg $* failed"
	}
}

# Files and directories that packages may leave something in.
everything() {
	find /etc /lib /opt /srv /usr /var/lib /var/log /var/spool -xdev \
		! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' | LC_ALL=C sort
}

# start READY COMMAND...: runs until it says READY; its process is in started.
start() {
	local ready=$1 line fd
	shift
	exec {fd}< <(exec "$@" 2>&1)
	started=$!
	while IFS= read -r line <&"$fd"; do
		[[ $line != *"$ready"* ]] || {
			cat <&"$fd" >/dev/null &
			return
		}
		printf '%s\n' "$line" >&2
	done
	die "$1 did not start"
}

# A latent [1,4,64,64] of float16 as .npy.
write_latent() {
	local header="{'descr': '<f2', 'fortran_order': False, \
'shape': (1, 4, 64, 64), }"
	{
		printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header"
		head -c 32768 /dev/zero
	} >"$1"
}

is_png() {
	[ "$(head -c 4 "$1" | tail -c 3)" = PNG ]
}

# ---- the steps ----

step_install() {
	package_tool -i "$packages"/*.deb
	[ "$(stat -c %U:%G:%a $CONFIG)" = root:root:644 ]
	[ "$(stat -c %U:%G:%a /etc/latentd/tokens)" = root:root:700 ]
	getent group latentd >/dev/null
	[ "$(getent passwd latentd | cut -d: -f6)" = /var/lib/latentd ]
	[[ $(getent passwd latentd | cut -d: -f7) == *nologin ]]
	latentd --config $CONFIG --check >/dev/null
	[ "$(latentd --version)" = "latentd $(dpkg-query -W \
		-f '${Version}' latentd)" ]
}

# The operator configures first.
step_not_started() {
	not told 'start'
	not told 'enable'
	[ ! -e /etc/systemd/system/multi-user.target.wants/latentd.service ]
}

# With the configuration as it was installed.
step_serve() {
	install -d -o latentd -g latentd -m 0750 /run/latentd
	start 'listening on' "${AS_OTHER[@]}" \
		latentd-endpoint --listen 127.0.0.1:8378
	endpoint=$started
	start 'ready:' "${AS_LATENTD[@]}" latentd --config $CONFIG
	daemon=$started
}

step_member_decodes() {
	write_latent "$work/latent.npy"
	install -d -o nobody "$work/pictures"
	"${AS_MEMBER[@]}" latentctl decode "$work/latent.npy" \
		--model sdxl --quiet --out "$work/pictures"
	is_png "$work/pictures/latent.png"
}

step_others_are_refused() {
	local said
	if said=$("${AS_OTHER[@]}" latentctl decode \
		"$work/latent.npy" --model sdxl --out "$work/pictures" --force 2>&1); then
		die "not refused: $said"
	fi
	[[ $said == *'group "latentd"'* ]] || die "refused with: $said"
}

# The example, linked with the shared and with the static library.
step_develop() {
	local example=/usr/share/doc/liblatentd-dev/examples/minimal.c flags
	read -ra flags < <(pkg-config --cflags --libs latentd)
	cc -Wall -Wextra -Werror $example "${flags[@]}" -o "$work/shared"
	grep -q 'liblatentd\.so\.0 => /' <(ldd "$work/shared")
	read -ra flags < <(pkg-config --static --cflags --libs latentd |
		sed 's/-llatentd/-l:liblatentd.a/')
	cc -Wall -Wextra -Werror $example "${flags[@]}" -o "$work/static"
	not grep liblatentd <(ldd "$work/static")
	for program in shared static; do
		"${AS_MEMBER[@]}" "$work/$program" \
			"$work/pictures/$program.png"
		is_png "$work/pictures/$program.png"
	done
}

step_stop() {
	kill -TERM "$daemon"
	wait "$daemon"
	kill -TERM "$endpoint"
	wait "$endpoint"
}

# What the operator wrote stays; what runs is restarted, and nothing else begins.
step_upgrade() {
	echo '# of this site' >>$CONFIG
	install -m 600 /dev/null /etc/latentd/tokens/hosted
	install -d -o latentd /var/lib/latentd
	touch /var/lib/latentd/job
	told_forget
	package_tool -i "$newer"/*.deb
	[ "$(tail -n 1 $CONFIG)" = '# of this site' ]
	[ -e /etc/latentd/tokens/hosted ]
	[ -e /var/lib/latentd/job ]
	told 'daemon-reload'
	told 'try-restart.* latentd\.service'
	told 'try-restart.* latentd-endpoint\.service'
	not grep -v -e 'daemon-reload' -e 'try-restart' "$work/systemctl.log"
}

step_remove() {
	told_forget
	package_tool -r "${NAMES[@]}"
	told 'stop .*latentd\.service'
	told 'latentd-endpoint\.service'
	[ ! -e /usr/sbin/latentd ]
	[ "$(tail -n 1 $CONFIG)" = '# of this site' ]
	[ -e /etc/latentd/tokens/hosted ]
	[ -e /var/lib/latentd/job ]
}

# All that is left is the user.
step_purge() {
	package_tool -P "${NAMES[@]}"
	everything >"$work/after"
	diff "$work/before" "$work/after" >&2
	getent passwd latentd >/dev/null
}

step_install_again() {
	package_tool -i "$newer"/*.deb
	latentd --config $CONFIG --check >/dev/null
	package_tool -P "${NAMES[@]}"
}

trap 'echo "exercise: line $LINENO of step ${step:-before}" >&2' ERR
loopback_up
fake_systemd
# An index of all manual pages for each of these is nobody's to wait for.
rm -f /var/lib/man-db/auto-update
# The machine may have had them before.
package_tool -P "${NAMES[@]}"
touch /etc/.pwd.lock
for file in passwd group shadow gshadow; do
	cp -p "/etc/$file" "/etc/$file-"
done
everything >"$work/before"
for step in install not_started serve member_decodes others_are_refused develop \
	stop upgrade remove purge install_again; do
	# Not in a condition: there it would go on after what fails.
	"step_$step"
	echo "ok $step"
done
