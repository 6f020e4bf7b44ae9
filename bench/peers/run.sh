#!/usr/bin/env bash
# The same work by assay and by Hugging Face transformers on one pinned core in one run: bench/peers/run.sh [--help]
# ASSAY_PEERS_PYTHON: a Python that has the packages of requirements.txt (default: an environment made in the user's cache)
# ASSAY_PEERS_CORE:   the core (default: the last one)
# ASSAY:              the binary (default: build/assay)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/assay/peers"
core="${ASSAY_PEERS_CORE:-$(($(nproc --all) - 1))}"
assay="${ASSAY:-$here/../../build/assay}"

die() { printf 'peers: error: %s\n' "$*" >&2; exit 1; }
[ -x "$assay" ] || die "there is no $assay (make build)"
command -v taskset >/dev/null || die "taskset is missing (apt-get install util-linux)"

python="${ASSAY_PEERS_PYTHON:-}"
if [ -z "$python" ]; then
  # Named by the pins, so that other pins make another environment; complete only when the stamp is there.
  environment="$cache/$(sha256sum "$here/requirements.txt" | cut -c1-12)"
  python="$environment/bin/python"
  if [ ! -e "$environment/.complete" ]; then
    printf 'peers: making a Python environment (about 5 GB)\n' >&2
    rm -rf "$environment"
    mkdir -p "$cache"
    python3 -m venv "$environment" >&2 || die "python3 -m venv failed (apt-get install python3-venv)"
    "$python" -m pip install --quiet -r "$here/requirements.txt" >&2 || die "pip could not install $(tr '\n' ' ' <"$here/requirements.txt")"
    touch "$environment/.complete"
  fi
fi
"$python" -c 'import torch, transformers' || die "$python cannot import torch and transformers"

# One thread on both sides; what tunes the matrix products of either side is left at its default.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE ASSAY_KERNELS
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 TORCHINDUCTOR_CACHE_DIR="$cache/inductor"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
exec taskset -c "$core" "$python" "$here/compare.py" --assay "$assay" "$@"
