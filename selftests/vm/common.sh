# SPDX-License-Identifier: GPL-2.0-only
# Sourced by the scripts in this directory: where things are cached, how they
# are fetched.  Nothing here needs root except `need_packages`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${SOCKBEAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sockbeat}
mkdir -p "$cache"

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
say() { echo "$(basename "$0"): $*" >&2; }

# Debian package versions hold ':', '+' and '~': fine in file names, but not
# all of them in make, so cached directories carry a folded form.
fold() { printf '%s' "$1" | tr ':+~' '---'; }

# candidate PACKAGE: the version that apt would install, empty where none is.
candidate() { apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }

# once DIR COMMAND...: run COMMAND in a scratch directory and rename that to
# DIR when it succeeded, so that a killed build leaves no half-made DIR.  Two
# callers of the same DIR wait for each other.
once() {
	local dir=$1 tmp
	shift
	[ -d "$dir" ] && return
	mkdir -p "$(dirname "$dir")"
	exec 9>"$dir.lock"
	flock 9
	if [ ! -d "$dir" ]; then
		tmp=$dir.tmp
		rm -rf "$tmp"
		mkdir -p "$tmp"
		(cd "$tmp" && "$@") || { exec 9>&-; die "could not make $dir"; }
		mv "$tmp" "$dir"
	fi
	exec 9>&-
}

# fetch_deb PACKAGE: unpack a package below the current directory.
unpack_deb() {
	apt-get download "$1" >/dev/null 2>&1 || return 1
	dpkg -x ./*.deb . && rm -f ./*.deb
}
