#!/usr/bin/env bash
# The tests on this machine, from nothing: set up .venv, then run pytest. Arguments go to pytest, for example
#   scripts/test.sh tests/cli          scripts/test.sh -m slow          scripts/test.sh --cov
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
"$root/scripts/setup.sh"

# Small tensors gain nothing from many threads, and the tests start worker processes of their own.
for name in OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS; do
  export "$name=${!name:-2}"
done
exec "$root/.venv/bin/python" -m pytest -q "$@"
