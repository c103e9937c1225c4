#!/usr/bin/env bash
# The README's pictures: a quick run of everything that is installed, as headless Chromium shows its report.
#   scripts/screenshots.sh [RUN.jsonl]
# RUN is then what is shown. Comparison and site are of the releases of timm that are published.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=${1:-$work/run/results.jsonl}
[ $# -gt 0 ] || python -m vitbench.run --output "$work/run"
python -m vitbench.report "$run" -o "$work/report.html"
releases=reports/published/timm-releases
python -m vitbench.report "$releases"/timm-1.0.28 "$releases"/timm-1.0.31 -o "$work/comparison.html"
python -m vitbench.report "$releases" -o "$work/site"
python scripts/screenshots.py "$work" docs/images
