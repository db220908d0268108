# SPDX-License-Identifier: Apache-2.0
# Completion of latentd and latentd-endpoint for bash.  Options are what --help
# says; only the words that they choose from stand here.
# shellcheck shell=bash

_latentd() {
	local program=${1/#\~\//$HOME/} cur=$2 help words='' files=''
	local option=${COMP_WORDS[COMP_CWORD - 1]}

	# --option=value arrives as three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $option == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	help=$("$program" --help 2>/dev/null)
	if [[ $option == --* && $'\n'$help =~ $'\n'"  $option "[A-Z] ]]; then
		case $option in
		--config | --token-file) files=f ;;
		--log-level) words='error warn info debug' ;;
		esac
	else
		words=$(sed -n '
			s/^  \(--[a-z-]*\), \(--[a-z-]*\).*/\1\n\2/p
			t
			s/^  \(--[a-z-]*\).*/\1/p' <<<"$help")
	fi
	COMPREPLY=()
	if [[ -n $files ]]; then
		mapfile -t COMPREPLY < <(compgen "-$files" -- "$cur")
		compopt -o filenames 2>/dev/null
	elif [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	fi
}

complete -F _latentd latentd latentd-endpoint
