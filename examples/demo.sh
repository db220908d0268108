#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole of latentd on this machine: an endpoint, the daemon and three
# producers; then the same work without the daemon, to compare.  `./dev demo`
# builds and runs it:
#     examples/demo.sh BIN_DIR OUT_DIR [JOBS]
# where JOBS is how many each producer makes.
# Everything listens on loopback and in a temporary directory, and everything
# that was started is ended by its pid, also on Ctrl-C.
set -euo pipefail

bin=${1:?usage: examples/demo.sh BIN_DIR OUT_DIR [JOBS]}
out=${2:?usage: examples/demo.sh BIN_DIR OUT_DIR [JOBS]}
jobs=${3:-12}
examples=$bin/../examples

SERVICE_MS=300  # what the endpoint takes for a picture
REPLICAS=4      # how many it works on at the same time
GENERATE_MS=200 # what a producer takes for a latent

models=(sd-v1 sdxl flux hunyuan-video)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/latentd-demo.XXXXXX")
pids=()

stop_all() {
	local pid
	for pid in "${pids[@]}"; do
		kill -TERM "$pid" 2>/dev/null || true
	done
	for pid in "${pids[@]}"; do
		wait "$pid" 2>/dev/null || true
	done
	pids=()
	rm -rf "$tmp"
}
trap stop_all EXIT
trap 'echo "demo: stopped" >&2; exit 130' INT
trap 'exit 143' TERM

fail() {
	local log
	echo "demo: $*" >&2
	for log in "$tmp"/*.log; do
		[ -s "$log" ] || continue
		echo "demo: $(basename "$log") ends with:" >&2
		tail -n 20 "$log" >&2
	done
	exit 1
}

now_ms() {
	printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"
}

# await FILE TEXT: read the fifo FILE until a line holds TEXT; set $line.
# Everything goes to FILE.log, also later, so that the writer never blocks.
await() {
	local fd
	exec {fd}<"$1"
	while IFS= read -r -t 30 -u "$fd" line; do
		printf '%s\n' "$line" >>"$1.log"
		if [[ $line == *"$2"* ]]; then
			cat <&"$fd" >>"$1.log" &
			exec {fd}<&-
			return 0
		fi
	done
	fail "$(basename "$1") did not start"
}

start_endpoint() {
	mkfifo "$tmp/latentd-endpoint"
	"$bin/latentd-endpoint" --listen 127.0.0.1:0 \
		--service-ms "$SERVICE_MS" --parallel "$REPLICAS" \
		>"$tmp/latentd-endpoint" 2>"$tmp/endpoint-errors.log" &
	pids+=($!)
	await "$tmp/latentd-endpoint" "listening on"
	url=${line##*listening on }
}

write_config() {
	local model
	printf '[daemon]\nlisten = %s\n\n' "$socket"
	for model in "${models[@]}"; do
		printf '[endpoint %s]\nmodel = %s\ntask = decode\n' \
			"$model" "$model"
		printf 'url = %s/%s\nparallel = %s\n\n' \
			"$url" "$model" "$REPLICAS"
		printf '[endpoint %s-encode]\nmodel = %s\ntask = encode\n' \
			"$model" "$model"
		printf 'url = %s/encode/%s\nparallel = %s\n\n' \
			"$url" "$model" "$REPLICAS"
	done
}

start_daemon() {
	socket=ipc://$tmp/latentd.sock
	write_config >"$tmp/latentd.conf"
	mkfifo "$tmp/latentd"
	"$bin/latentd" --config "$tmp/latentd.conf" 2>"$tmp/latentd" &
	pids+=($!)
	await "$tmp/latentd" ready
}

# Three landscapes, and a slow pan over the first as a video of nine frames.
paint() {
	local seed
	for seed in 1 2 3; do
		"$examples/photo" 768 512 "$seed" "$out/original-$seed.png"
	done
	"$examples/photo" 512 320 1 "$tmp/original-video.npy" 9
}

encode() {
	local model
	for model in sd-v1 sdxl flux; do
		"$bin/latentctl" encode "$out"/original-[123].png \
			--model "$model" --out "$tmp/$model"
	done
	"$bin/latentctl" encode "$tmp/original-video.npy" \
		--model hunyuan-video --out "$tmp/hunyuan-video"
}

# work_of PRODUCER: its MODEL=FILE arguments, one a model.
work_of() {
	printf '%s\n' "sd-v1=$tmp/sd-v1/original-$1.safetensors" \
		"sdxl=$tmp/sdxl/original-$1.safetensors" \
		"flux=$tmp/flux/original-$1.safetensors" \
		"hunyuan-video=$tmp/hunyuan-video/original-video.safetensors"
}

# Run PROGRAM three times at once, as producers 1 to 3; set $wall_ms.
three() {
	local program=$1 url=$2 dir=$3 i begin failed=0 started=()
	local files
	mkdir -p "$dir"
	begin=$(now_ms)
	for i in 1 2 3; do
		mapfile -t files < <(work_of "$i")
		"$examples/$program" --url "$url" --name "p$i" --out "$dir" \
			--generate-ms "$GENERATE_MS" --jobs "$jobs" \
			"${files[@]}" >"$tmp/$program-$i.json" &
		started+=($!)
		pids+=($!)
	done
	for i in "${started[@]}"; do
		wait "$i" || failed=1
	done
	wall_ms=$(($(now_ms) - begin))
	[ "$failed" = 0 ] || fail "a $program failed"
}

# sum PROGRAM FIELD: of the three reports.
sum() {
	cat "$tmp/$1"-[123].json | tr ',' '\n' |
		awk -F': ' -v field="\"$2\"" \
			'index($1, field) { n += $2 } END { printf "%.1f", n }'
}

row() {
	printf '  %-34s %5s %16s %14s\n' "$@"
}

report() {
	local all=$((3 * jobs))
	echo
	row "" jobs "producers blocked" "wall time"
	row "latentd" "$all" "$(sum producer push_ms_sum) ms" \
		"$latentd_ms ms"
	row "without: POST, wait, go on" "$all" "$(sum serial push_ms_sum) ms" \
		"$serial_ms ms"
	echo
	echo "  Both with three producers that generate $GENERATE_MS ms a latent, and an"
	echo "  endpoint with $SERVICE_MS ms service time that works on $REPLICAS at once;"
	echo "  \"blocked\" is the time that the producers spent in handing over, in sum."
	echo
	echo "  $out/original-1.png to original-3.png    what was encoded"
	echo "  $out/p1-01-sd-v1.png and so on           what came back as pictures"
	echo "  $out/p1-04-hunyuan-video.mp4 and so on   and as videos"
	echo "  (a preview decoder: pictures are recognisable, not sharp)"
}

rm -rf "$out"
mkdir -p "$out"
echo "demo: endpoint, daemon"
start_endpoint
start_daemon
export LATENTD_URL=$socket
echo "demo: painting and encoding three landscapes and a video"
paint
encode
echo "demo: three producers push $((3 * jobs)) latents of four models"
three producer "$socket" "$out"
latentd_ms=$wall_ms
echo "demo: the same work without latentd"
three serial "$url" "$tmp/serial"
serial_ms=$wall_ms
report
