#!/usr/bin/env bash
# Makes a Debian (12 or newer) or Ubuntu (24.04 or newer) machine ready for Sekiso: Debian packages, a pinned
# package manager where there is none, and the Python environment in .venv exactly as uv.lock says.
# Quick when everything is there.
#
# To source:  . script/lib/setup.sh; sekiso_setup run|test
#             Afterwards .venv/bin is first on PATH and SEKISO_CACHE is set.
# To run:     script/lib/setup.sh [run|test]
#
# Exit status: 3 = Debian packages are missing and only root can install them (the command is printed).

sekiso_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly sekiso_root
readonly SEKISO_UV_OLDEST=0.10.0 # oldest one known to read uv.lock

say() { printf '%s\n' "$*" >&2; }

# sekiso_packages GROUP: the package choices of a group, one a line; "test" includes "run".
sekiso_packages() {
  awk -v group="$1" '$1 == group || (group == "test" && $1 == "run") { print $2 }' \
    "$sekiso_root/script/lib/packages.txt"
}

# sekiso_missing GROUP: the choices of which no alternative is installed. One call to dpkg.
sekiso_missing() {
  local choices installed
  choices="$(sekiso_packages "$1")"
  # shellcheck disable=SC2046 # one word per package is what is wanted
  installed="$(dpkg-query -W -f='${db:Status-Abbrev}|${Package}\n' $(tr '|' '\n' <<<"$choices") 2>/dev/null || :)"
  awk -F'|' 'NR == FNR { if ($1 ~ /^.i/) there[$2] = 1; next }
             { for (i = 1; i <= NF; i++) if ($i in there) next; print }' \
    <(printf '%s\n' "$installed") <(printf '%s\n' "$choices")
}

# sekiso_choose CHOICE...: for each a|b the first name that this release can install; fails if one has none.
sekiso_choose() {
  local choice name
  for choice in "$@"; do
    for name in ${choice//|/ }; do
      case "$(LC_ALL=C apt-cache policy "$name" 2>/dev/null)" in
        '' | *'Candidate: (none)'*) ;;
        *) printf '%s\n' "$name"; continue 2 ;;
      esac
    done
    return 1
  done
}

sekiso_apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    -o Acquire::Retries=3 "$@" </dev/null >&2
}

# sekiso_install_packages GROUP: install what is missing, as root; else say how and exit 3.
sekiso_install_packages() {
  local missing names
  mapfile -t missing < <(sekiso_missing "$1")
  [ "${#missing[@]}" -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    say "Some Debian packages are missing. Install them, then start this again:"
    say ""
    # Before the first apt-get update no name can be looked up: then the first alternative is printed.
    names="$(sekiso_choose "${missing[@]}")" || names="$(printf '%s\n' "${missing[@]%%|*}")"
    say "  sudo apt-get update && sudo apt-get install --no-install-recommends ${names//$'\n'/ }"
    exit 3
  fi
  say "Installing Debian packages: ${missing[*]}"
  if ! names="$(sekiso_choose "${missing[@]}")"; then
    sekiso_apt update || return 1
    names="$(sekiso_choose "${missing[@]}")" || {
      say "This release offers none of: ${missing[*]}. Sekiso needs Debian 12 or newer, or Ubuntu 24.04 or newer."
      return 1
    }
  fi
  # A list that is older than the mirror names files that are gone: refresh it and try once more.
  # shellcheck disable=SC2086
  sekiso_apt install --no-install-recommends $names ||
    { sekiso_apt update && sekiso_apt install --no-install-recommends $names; }
}

# sekiso_python: a Python of 3.11 or newer that can make virtual environments; the system's own first.
sekiso_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  say "Python 3.11 or newer is needed, with its venv module (Debian packages python3 and python3-venv)."
  return 1
}

sekiso_uv_is_usable() {
  local version
  version="$("$1" --version 2>/dev/null | awk '{ print $2 }')"
  [ -n "$version" ] && [ "$(printf '%s\n' "$SEKISO_UV_OLDEST" "$version" | sort -V | head -n 1)" = "$SEKISO_UV_OLDEST" ]
}

# sekiso_uv: path of a usable uv; installed into .tools, by hash, where PATH has none.
sekiso_uv() {
  local own="$sekiso_root/.tools/bin/uv" python
  if sekiso_uv_is_usable "$own"; then
    printf '%s\n' "$own"
  elif sekiso_uv_is_usable uv; then
    command -v uv
  else
    python="$(sekiso_python)" || return 1
    say "Installing uv into .tools"
    "$python" -m venv --clear "$sekiso_root/.tools" >&2 &&
      "$sekiso_root/.tools/bin/python" -m pip --disable-pip-version-check install --quiet \
        --require-hashes --only-binary :all: -r "$sekiso_root/script/lib/uv.txt" >&2 || return 1
    printf '%s\n' "$own"
  fi
}

# sekiso_environment: .venv as uv.lock says. An environment that is there keeps its interpreter.
sekiso_environment() {
  local uv python=()
  uv="$(sekiso_uv)" || return 1
  if ! "$sekiso_root/.venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=(--python "$(sekiso_python)") || return 1
  fi
  # A VIRTUAL_ENV of the caller is no business of ours, and no interpreter is ever downloaded. crypt-r, which
  # virt-firmware wants on Python 3.13 for its own tests, would need a compiler; nothing here imports it.
  env -u VIRTUAL_ENV -u UV_PROJECT_ENVIRONMENT UV_PYTHON_DOWNLOADS=never \
    "$uv" sync --frozen --quiet --no-install-package crypt-r --project "$sekiso_root" "${python[@]}"
}

sekiso_setup() {
  local group="${1:-run}"
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is neither Debian nor Ubuntu: install what script/lib/packages.txt names by hand, and uv."
    exit 3
  fi
  sekiso_install_packages "$group" || { say "The Debian packages could not be installed."; exit 1; }
  sekiso_environment || { say "The Python environment could not be made."; exit 1; }
  # Debian keeps mke2fs, sfdisk and their kind where only root's PATH looks.
  export PATH="$sekiso_root/.venv/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
  export SEKISO_CACHE="${SEKISO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sekiso}"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  case "${1:-run}" in
    run | test) sekiso_setup "${1:-run}" ;;
    *) say "usage: $0 [run|test]"; exit 2 ;;
  esac
fi
