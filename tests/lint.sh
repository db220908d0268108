#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formatting, static analysis and spelling of the whole tree:
#     tests/lint.sh BUILD_DIR [CHECK...]
# where BUILD_DIR holds compile_commands.json.  Every check runs, also after
# one has failed; the status is 1 if any did.
# The check_* functions are called by a name put together at the end.
# shellcheck disable=SC2317
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:?usage: tests/lint.sh BUILD_DIR [CHECK...]}
shift
CHECKS="format headers lengths shell spelling spaces python warnings tidy"

FUNCTION_LINES=60
FILE_LINES=500

files() {
	git ls-files --cached --others --exclude-standard -- "$@" |
		while IFS= read -r file; do
			[ ! -f "$file" ] || printf '%s\n' "$file"
		done
}

check_format() {
	local tool=clang-format-14
	command -v "$tool" >/dev/null || tool=clang-format
	# Another version would want another layout.
	if ! grep -q 'version 14\.' <("$tool" --version); then
		echo "skipped: needs clang-format 14, this is $("$tool" --version)"
		return 0
	fi
	files '*.c' '*.h' | xargs -r "$tool" --dry-run -Werror
}

# One file a run: with more, clang-tidy 14 sees uninitialized va_lists where
# there are none.
check_tidy() {
	files '*.c' | grep -Fxf <(compiled_files) |
		xargs -r -n 1 -P "$(nproc)" clang-tidy --quiet -p "$build" \
			--extra-arg=-Wno-unknown-warning-option \
			--warnings-as-errors='*' 2>/dev/null
}

# No warning from either compiler, optimized as for a release: gcc finds more
# then than the tests' build shows.
check_warnings() {
	local compiler
	for compiler in gcc clang; do
		CC=$compiler cmake -G Ninja -B "build/lint-$compiler" \
			-DCMAKE_BUILD_TYPE=RelWithDebInfo \
			-DLATENTD_WERROR=ON -DLATENTD_TESTS=ON >/dev/null
		cmake --build "build/lint-$compiler" -- -k 0 |
			sed -n '/: error:/,/^[[]/p;s/^FAILED/&/p' ||
			return 1
	done
}

compiled_files() {
	python3 -c '
import json, os, sys
for entry in json.load(open(sys.argv[1])):
    print(os.path.relpath(entry["file"]))
' "$build/compile_commands.json"
}

# Every header compiles on its own, twice in one file, in C; the installed
# ones also in C++.
check_headers() {
	local failed=0 header flags
	read -ra flags <<<"-std=gnu11 -D_GNU_SOURCE -Iinclude -Iproto -Idaemon \
		-Ispool -Iclient -Iendpoint -Wall -Wextra -Werror -fsyntax-only \
		$(pkg-config --cflags libuv libcurl libpng jansson libmicrohttpd)"
	while IFS= read -r header; do
		printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
			gcc "${flags[@]}" -I. -x c - || failed=1
	done < <(files '*.h')
	while IFS= read -r header; do
		printf '#include "%s"\n' "$header" |
			clang -std=c++11 -Iinclude -Wall -Wextra -Werror \
				-fsyntax-only -I. -x c++ - || failed=1
	done < <(files 'include/*.h')
	return "$failed"
}

check_lengths() {
	local long
	long=$(
		files '*.c' | xargs -r pmccabe 2>/dev/null |
			awk -F'\t' -v most="$FUNCTION_LINES" '$5 > most {
				printf "%s: %d lines, at most %d\n", $6, $5, most }'
		files '*.c' '*.h' '*.py' '*.sh' | xargs -r wc -l |
			awk -v most="$FILE_LINES" '$2 != "total" && $1 > most {
				printf "%s: %d lines, at most %d\n", $2, $1, most }'
	)
	[ -z "$long" ] || {
		printf '%s\n' "$long"
		return 1
	}
}

check_shell() {
	files '*.sh' '*.bash' dev .ci/run | xargs -r shellcheck
}

# The words are names, or misspelt on purpose in tests of misspelt input.
check_spelling() {
	files | xargs -r codespell --skip '*.csv,*.jsonl,*.bin,LICENSE' \
		--ignore-words-list 'alue,buidl,deamon,nam,ot,paeth,paralel'
}

# Against the empty tree: the whole of every tracked file.
check_spaces() {
	git diff --check "$(git hash-object -t tree /dev/null)"
}

check_python() {
	files '*.py' | xargs -r python3 -c '
import sys
for name in sys.argv[1:]:
    compile(open(name).read(), name, "exec")
'
}

# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $CHECKS
for check; do
	[[ " $CHECKS " == *" $check "* ]] || {
		echo "lint: no check \"$check\"; there are $CHECKS" >&2
		exit 1
	}
done
status=0
for check; do
	if output=$("check_$check" 2>&1); then
		printf 'lint %-9s ok%s\n' "$check" "${output:+: $output}"
	else
		printf '%s\nlint %-9s FAILED\n' "$output" "$check"
		status=1
	fi
done
exit "$status"
