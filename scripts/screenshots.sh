#!/usr/bin/env bash
# The README's pictures: a quick run of everything that is installed, as headless Chromium shows its report.
#   scripts/screenshots.sh [RUN.jsonl [OTHER.jsonl]]
# RUN is then what is shown; with OTHER, a run to hold it against, there is a picture of the comparison too.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=${1:-$work/run/results.jsonl}
[ $# -gt 0 ] || python -m vitbench.run --output "$work/run"
python -m vitbench.report "$run" -o "$work/report.html"
[ $# -lt 2 ] || python -m vitbench.report "$2" "$run" -o "$work/comparison.html"
python -m vitbench.report reports/published/timm-releases -o "$work/site"
python scripts/screenshots.py "$work" docs/images
