#!/usr/bin/env bash
# The whole chain on this machine, from nothing: set up .venv, then render, train, evaluate, infer, report.
# Arguments go to `vidaff demo` (scripts/demo.sh --help); without --out the results go to runs/demo.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
"$root/scripts/setup.sh"
exec "$root/.venv/bin/vidaff" demo "$@"
