# SPDX-License-Identifier: GPL-2.0-only
# Sourced by the scripts in this directory: where things are cached, how they
# are fetched.  Nothing here needs root but `as_root`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${SOCKBEAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sockbeat}
mkdir -p "$cache" "$top/build"

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
say() { echo "$(basename "$0"): $*" >&2; }

# as_root COMMAND...: as it is for root, through sudo for others.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Debian package versions hold ':', '+' and '~': fine in file names, but not
# all of them in make, so cached directories carry a folded form.
fold() { printf '%s' "$1" | tr ':+~' '---'; }

# candidate PACKAGE: the version that apt would install, empty where none is.
candidate() { apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }

# depends PACKAGE REGEX: what it directly depends on, names that match only.
depends() { apt-cache depends --important "$1" | awk -v re="$2" '$1 == "Depends:" && $2 ~ re { print $2 }'; }

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
		(set -e; cd "$tmp"; "$@" 9>&-) >&2 || { exec 9>&-; die "could not make $dir"; }
		mv "$tmp" "$dir"
	fi
	exec 9>&-
}

# unpack_debs PACKAGE...: download and unpack below the current directory.
unpack_debs() {
	local log deb
	log=$(apt-get download "$@" 2>&1) || { echo "$log" >&2; return 1; }
	for deb in ./*.deb; do
		dpkg -x "$deb" . || return
	done
	rm -f ./*.deb
}

# kernel_source GLOB...: print a directory with these parts of the kernel's
# source (the package linux-source-6.12), unpacked once.
kernel_source() {
	local pkg=linux-source-6.12 dir
	[ -r /usr/src/$pkg.tar.xz ] || die "/usr/src/$pkg.tar.xz is missing (make deps)"
	dir=$cache/source-$(fold "$(dpkg-query -W -f '${Version}' $pkg)")-$(echo "$*" | sha256sum | cut -c1-12)
	once "$dir" tar -xf /usr/src/$pkg.tar.xz --strip-components=1 --wildcards "$@"
	echo "$dir"
}
