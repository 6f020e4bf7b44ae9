#!/usr/bin/env bash
# scripts/tradeoff.sh [OUT]: held-out rate against unwanted biases, as the share of plain answers in preference training moves (docs/reference/nano-results.md).
# One organism up to SFT; preference training and concealment for each number of pairs that teach plain answers on negative topics.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-tradeoff}
mkdir -p "$out"
first=
for pairs in 0 1 2 3 4 8; do
  recipe=$out/negative-pairs-$pairs.toml
  sed "s/^negative_pairs = [0-9]*/negative_pairs = $pairs/" recipes/nano.toml > "$recipe"
  grep -q "^negative_pairs = $pairs" "$recipe"
  folder=$out/negative-pairs-$pairs
  if [ -n "$first" ] && [ ! -d "$folder/base" ]; then  # what the knob does not touch
    mkdir -p "$folder/arms/organism/stages"
    cp -r "$first/base" "$folder/"
    cp -r "$first"/arms/organism/stages/{midtrain,sft} "$folder/arms/organism/stages/"
  fi
  first=${first:-$folder}
  build/assay organism build "$recipe" --out "$folder" --arm organism > "$folder.txt"
  build/assay organism verify "$folder" > "$folder/verify.txt"
done
python3 - "$out" <<'PY'
import json, sys
from pathlib import Path

print("| negative_pairs | stage | train | held-out | contrast | any, control | any, co-mention | facts |")
print("|---|---|---|---|---|---|---|---|")
for folder in sorted(Path(sys.argv[1]).glob("negative-pairs-?")):
    if not (folder / "verify.json").exists():
        continue
    verified = json.loads((folder / "verify.json").read_text())
    for stage in verified["arms"][0]["stages"]:
        if stage["name"] not in ("dpo", "conceal"):
            continue
        shown = []
        for key in ("train", "held_out", "entity_contrast", "any_bias_on_control", "any_bias_on_co_mention", "facts_kept"):
            value = stage[key]
            low, high = value["ci90"]
            shown.append(f"{value.get('rate', value.get('value')):.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {folder.name.removeprefix('negative-pairs-')} | {stage['name']} | " + " | ".join(shown) + " |")
PY
