#!/usr/bin/env bash
# Make .venv ready: Python, system libraries, pinned packages and vidaff itself. Does nothing when it is ready.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
stamp="$venv/.vidaff-setup"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local name
  for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3 python; do
    if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then
      command -v "$name"
      return
    fi
  done
  fail "no Python 3.11 or newer found; install one (Debian, Ubuntu: apt-get install python3 python3-venv)," \
    "or name it: PYTHON=/path/to/python3.11 $0"
}

fingerprint() {
  "$1" - "$root/constraints.txt" "$root/pyproject.toml" "$root/setup.py" <<'PY'
import hashlib, pathlib, sys
print(hashlib.sha256(b"\0".join(pathlib.Path(name).read_bytes() for name in sys.argv[1:])).hexdigest(), sys.prefix)
PY
}

# What the wheels load at run time but do not carry (Open3D: USB, GL, X11; OpenMP for the numeric libraries).
missing_libraries() {
  local cache pair
  cache="$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)"
  for pair in libusb-1.0.so.0=libusb-1.0-0 libGL.so.1=libgl1 libgthread-2.0.so.0=libglib2.0-0 \
    libgomp.so.1=libgomp1 libX11.so.6=libx11-6; do
    case "$cache" in
      *"${pair%%=*}"*) ;;
      *) printf '%s\n' "${pair#*=}" ;;
    esac
  done
}

install_system_packages() {
  local as_user="sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
  if ! command -v apt-get >/dev/null 2>&1; then
    fail "missing system libraries; install what your system calls (Debian names): $*"
  elif [ "$(id -u)" -ne 0 ]; then
    fail "missing system packages; run this once, then start again:  $as_user"
  fi
  say "installing system packages: $*"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

ensure_system() {
  local python="$1" packages=()
  [ "$(uname -s)" = Linux ] || return 0
  mapfile -t packages < <(missing_libraries)
  if [ ! -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    packages+=("python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv")
  fi
  [ "${#packages[@]}" -eq 0 ] || install_system_packages "${packages[@]}"
}

ensure_venv() {
  local python="$1"
  if [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return
  fi
  say "creating $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
}

main() {
  if [ -x "$venv/bin/vidaff" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$venv/bin/python")" ]; then
    return
  fi
  local python
  python="$(find_python)"
  ensure_system "$python"
  ensure_venv "$python"
  say "installing vidaff and its libraries (the first time this downloads a few GB and takes some minutes)"
  rm -f "$stamp"
  local quiet=--quiet
  [ ! -t 2 ] || quiet=--progress-bar=on
  "$venv/bin/python" -m pip install --disable-pip-version-check "$quiet" \
    -c "$root/constraints.txt" -e "$root[dev]" >&2
  fingerprint "$venv/bin/python" >"$stamp"
  say "ready: $venv"
}

main
