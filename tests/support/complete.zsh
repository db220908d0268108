# SPDX-License-Identifier: Apache-2.0
# What zsh offers at the end of a line: complete.zsh DIR LINE prints a line
# "WORD -- DESCRIPTION" for each, with completions from DIR.  A zsh with a
# terminal does it, and says what it would have shown.
zmodload zsh/zpty
setup=$(mktemp)
trap 'rm -f $setup' EXIT
cat >$setup <<'TEXT'
PROMPT=
stty -echo
zstyle ':completion:*' list-grouped false
zstyle ':completion:*' insert-tab false
setopt no_list_beep
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
say_begin() { print -r -- BEGIN }
say_end() { print -r -- END; exit }
compprefuncs=(say_begin)
comppostfuncs=(say_end)
# Every match goes through compadd.
compadd() {
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	typeset -a __hits __texts __names
	local i
	if (( $@[(I)-d] )); then
		__names=${@[$[${@[(i)-d]}+1]]}
		if [[ $__names == \(* ]]; then
			eval "__texts=$__names"
		else
			__texts=("${(@P)__names}")
		fi
	fi
	builtin compadd -A __hits -D __texts "$@"
	for i in {1..$#__hits}; do
		(( $#__hits )) && print -r -- "WORD $__hits[i] -- $__texts[i]"
	done
}
print -r -- READY
TEXT
fpath_line="fpath=(${(q)1} \$fpath)"
zpty session zsh -f -i
zpty -w session "$fpath_line; source $setup"
while zpty -r session line; do
	[[ $line != *READY* || $line == *source* ]] || break
done
zpty -w -n session "$2"$'\t'
while zpty -r session line; do
	line=${${line%$'\n'}%$'\r'}
	[[ $line != *END ]] || break
	[[ $line != *WORD\ * ]] || print -r -- ${line#*WORD }
done
zpty -d session
