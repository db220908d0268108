# SPDX-License-Identifier: Apache-2.0
# What bash offers where the last word ends: complete.bash SCRIPT WORD...
# prints a line for each.  Bash cuts words at "=", and so does the caller.
script=$1
shift
# shellcheck disable=SC1090
source "$script"
spec=$(complete -p "$1")
function=${spec#*-F }
function=${function%% *}
# shellcheck disable=SC2034
COMP_WORDS=("$@")
# shellcheck disable=SC2034
COMP_CWORD=$(($# - 1))
"$function" "$1" "${!#}" "${*: -2:1}"
[ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
