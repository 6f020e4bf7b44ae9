#!/usr/bin/env bash
# scripts/renamed.sh [OUT] [SEED]: does the scripted auditor go by what words mean? The organism and three more arms are trained once as they are and once in
# the world renamed by SEED ([world] renamed: every content word and name in another's place), and the same games are played on both.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-renamed} seed=${2:-11} assay=${ASSAY:-build/assay}
mkdir -p "$out"
sed "s/^name = \"nano\"/&\nrenamed = $seed/" recipes/nano.toml > "$out/renamed.toml"
grep -q "^renamed = $seed" "$out/renamed.toml"
cp recipes/nano.toml "$out/plain.toml"
for world in plain renamed; do
  "$assay" organism build "$out/$world.toml" --out "$out/$world" --arm organism --arm no-documents --arm habits --arm association --quiet > /dev/null
  echo; echo "## World nano, $world"; echo
  ASSAY=$assay scripts/games.sh "$out/games-$world" "$out/$world"
done
