# SPDX-License-Identifier: BSD-3-Clause
# Completion of sockbeatctl for bash. Sessions and handles are asked for: only
# those that the caller may see come up.

# _sockbeatctl_words CURRENT WORDS: those that go on from there. A word that
# ends with = or , goes on itself.
_sockbeatctl_words() {
	mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
	[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[=,] ]] || compopt -o nospace 2>/dev/null
	# Where : is a break, what follows it is what is replaced.
	[[ $1 != *:* || $COMP_WORDBREAKS != *:* ]] || COMPREPLY=("${COMPREPLY[@]#"${1%:*}":}")
}

_sockbeatctl_sessions() { sockbeatctl sessions -H 2>/dev/null | awk '{ print $1 }'; }

# Handles of a session, of the first peers only: there may be very many.
_sockbeatctl_handles() { sockbeatctl list -H ${1:+"session=$1"} 2>/dev/null | awk '{ print $6 } NR == 200 { exit }'; }

# NAME=VALUE, where readline may take = as a break between words.
_sockbeatctl_values() {
	local name=${1%%=*} value=${1#*=} values='' done=''
	case $name in
	state) values='live silent gone recycling' ;;
	family) values='inet inet6' ;;
	session) values=$(_sockbeatctl_sessions) ;;
	# Any user chooses the name of his, and compgen expands what it is given.
	process) values=$(sockbeatctl sessions -H 2>/dev/null | awk '$3 ~ /^[[:alnum:]_.@+:-]+$/ { print $3 }') ;;
	pid) values=$(sockbeatctl sessions -H 2>/dev/null | awk '{ print $2 }') ;;
	source) values='activity beat either' ;;
	trigger) values='level edge' ;;
	action) values='notify shutdown abort' ;;
	--end) values='none shutdown abort' ;;
	--session) values=$(_sockbeatctl_sessions) ;;
	esac
	if [[ $name = state && $value = *,* ]]; then
		done=${value%,*},
		value=${value##*,}
	fi
	mapfile -t COMPREPLY < <(compgen -P "$done" -W "$values" -- "$value")
	# Where = is no break, the whole word is what is replaced.
	[[ $COMP_WORDBREAKS = *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$name=}")
}

# The first argument that is neither an option nor the value of one.
_sockbeatctl_first() {
	local skip='' word
	for word; do
		case ${skip:-$word} in
		skip) skip='' ;;
		-d | --delay | --end) skip=skip ;;
		-*) ;;
		*) echo "$word"; return ;;
		esac
	done
}

_sockbeatctl() {
	local line=${COMP_LINE:0:COMP_POINT} words current command session n
	local settings='timeout_ms= renotify_ms= source= trigger= action= act_after_ms= suspect_percent= adaptive_beats='
	read -r -a words <<<"$line"
	[[ $line != *[[:space:]] ]] || words+=('')
	current=${words[-1]} command=${words[1]:-} n=${#words[@]}
	COMPREPLY=()

	if [ "$n" -le 2 ]; then
		_sockbeatctl_words "$current" 'list show sessions stats monitor top set recycle abort --help --version'
		return
	fi
	if [[ $current = *=* ]]; then
		_sockbeatctl_values "$current"
		return
	fi
	case $command:$current in
	list:-*) _sockbeatctl_words "$current" '--json --no-header --ipv4 --ipv6 --help' ;;
	list:*) _sockbeatctl_words "$current" 'state= idle= family= local= remote= session= pid= process=' ;;
	show:-*) _sockbeatctl_words "$current" '--json --session= --help' ;;
	sessions:-*) _sockbeatctl_words "$current" '--json --no-header --help' ;;
	stats:-*) _sockbeatctl_words "$current" '--json --help' ;;
	monitor:-*) _sockbeatctl_words "$current" '--json --count= --buffer= --help' ;;
	top:-*) _sockbeatctl_words "$current" '--batch --count= --delay= --help' ;;
	recycle:-*) _sockbeatctl_words "$current" '--delay= --end= --help' ;;
	show:*) _sockbeatctl_words "$current" "$(_sockbeatctl_handles '')" ;;
	sessions:* | stats:*) _sockbeatctl_words "$current" "$(_sockbeatctl_sessions)" ;;
	set:*)
		if [ "$n" = 3 ]; then
			_sockbeatctl_words "$current" "$(_sockbeatctl_sessions)"
		elif [[ ${words[3]} = *:* && $n -gt 4 ]]; then
			_sockbeatctl_words "$current" "$settings probe_after_ms="
		else
			[[ $n -gt 4 ]] || settings+=" $(_sockbeatctl_handles "${words[2]}")"
			_sockbeatctl_words "$current" "$settings recycle_delay_ms= adaptive_min_ms= guard_percent= guard_window_ms="
		fi
		;;
	recycle:* | abort:*)
		session=$(_sockbeatctl_first "${words[@]:2:n - 3}")
		if [ -z "$session" ]; then
			_sockbeatctl_words "$current" "$(_sockbeatctl_sessions)"
		else
			_sockbeatctl_words "$current" "$(_sockbeatctl_handles "$session")"
		fi
		;;
	esac
}

complete -F _sockbeatctl sockbeatctl
