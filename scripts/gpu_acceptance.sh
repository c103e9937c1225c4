#!/usr/bin/env bash
# What can only be shown on a CUDA device, in one command of at most nine minutes, without network:
#   scripts/gpu_acceptance.sh [--rehearse] [--budget SECONDS] [--preset PRESET] [--output DIR]
# Needs a checkout and a python on PATH that has vitbench's dependencies. The device is the first of $CUDA_VISIBLE_DEVICES,
# or GPU 0. Writes claims.md (PASS, FAIL, NOT RUN), report.html, both runs, JUnit's file and a log into --output, else $OUT,
# else reports/gpu_acceptance/<device>. Exit code: 0 every claim passed, 1 one failed, 3 some were not run.
# --rehearse does the same on the CPU with tiny models, to try the script itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

visible=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES="${visible%%,*}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1
exec python scripts/gpu_acceptance.py "$@"
