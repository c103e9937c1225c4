#!/usr/bin/env bash
# The README's picture: a quick run of everything that is installed, as headless Chromium shows its report.
#   scripts/screenshots.sh [RUN.jsonl]
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=${1:-$work/run/results.jsonl}
[ $# -gt 0 ] || python -m vitbench.run --output "$work/run"
python -m vitbench.report "$run" -o "$work/report.html"
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$work/profile" \
    --window-size=1280,1100 --screenshot="$PWD/docs/images/report.png" "file://$work/report.html"
