#!/usr/bin/env bash
# The program starts fast, and a result that cannot be written is a failure. (Time: CPU seconds of the best of five, so that a busy machine does not fail it.)
set -euo pipefail
assay=$1
best=$(for _ in 1 2 3 4 5; do
  TIMEFORMAT='%U %S'
  { time "$assay" --version >/dev/null; } 2>&1 | awk '{print $1 + $2}'
done | sort -n | head -1)
echo "assay --version: $best CPU seconds"
# AddressSanitizer's own start takes longer than that.
grep -qa __asan_init "$assay" || awk -v t="$best" 'BEGIN { exit !(t <= 0.3) }' || { echo "FAILED: slower than 0.3 s"; exit 1; }
if "$assay" --version >/dev/full 2>/tmp/assay-version.$$; then echo "FAILED: a full disk passed for success"; exit 1; fi
grep -q "cannot write to stdout" /tmp/assay-version.$$ || { cat /tmp/assay-version.$$; exit 1; }
rm -f /tmp/assay-version.$$
