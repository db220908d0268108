# SPDX-License-Identifier: Apache-2.0
# Completion of latentctl for bash.  Commands and options are what --help says;
# only the words that options and arguments choose from stand here.
# shellcheck shell=bash

_latentctl_options() {
	"$@" --help 2>/dev/null | sed -n '
		s/^  \(--[a-z-]*\), \(--[a-z-]*\).*/\1\n\2/p
		t
		s/^  \(--[a-z-]*\).*/\1/p'
}

_latentctl_commands() {
	"$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'
}

# _latentctl_values COMMAND OPTION: sets words, or files to f or d.
_latentctl_values() {
	case $1:$2 in
	encode:--model) words='sd-v1 sdxl flux' ;;
	*:--model) words='sd-v1 sdxl flux hunyuan-video' ;;
	encode:--format | collect:--format) words='safetensors npy' ;;
	*:--format) words='png jpg mp4 npy safetensors' ;;
	*:--space) words='model vae' ;;
	*:--dtype) words='float16 bfloat16 float32' ;;
	*:--task) words='decode encode' ;;
	*:--priority) words='urgent high normal low' ;;
	*:--state) words='queued active done failed cancelled expired' ;;
	*:--out) files=d ;;
	*:--secret-file) files=f ;;
	esac
}

_latentctl_arguments() {
	case $1 in
	decode | encode | submit) files=f ;;
	pause | resume) words='in out both' ;;
	esac
}

# Whether the word before the current one is an option that wants a value.
_latentctl_wants_value() {
	[[ $2 == --* ]] &&
		"$program" "$1" --help 2>/dev/null |
		grep -q -e "^  $2 [A-Z]"
}

_latentctl() {
	local program=${1/#\~\//$HOME/} cur=$2 command=${COMP_WORDS[1]}
	local option=${COMP_WORDS[COMP_CWORD - 1]} words='' files=''

	# --option=value arrives as three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $option == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if ((COMP_CWORD == 1)); then
		words="$(_latentctl_commands "$program") --help --version"
	elif _latentctl_wants_value "$command" "$option"; then
		_latentctl_values "$command" "$option"
	elif [[ $cur == -* ]]; then
		words=$(_latentctl_options "$program" "$command")
	else
		_latentctl_arguments "$command"
	fi
	COMPREPLY=()
	if [[ -n $files ]]; then
		mapfile -t COMPREPLY < <(compgen "-$files" -- "$cur")
		compopt -o filenames 2>/dev/null
	elif [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	fi
}

complete -F _latentctl latentctl
