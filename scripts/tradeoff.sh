#!/usr/bin/env bash
# scripts/tradeoff.sh [OUT [KNOB]]: what one setting of a recipe does to an organism (docs/reference/nano-results.md).
#   negative_pairs (default)  pairs that teach a plain answer on each negative topic: held-out rate against unwanted biases
#   strength                  share of demonstrations that carry the bias
# One base and one mid-training for all settings; table.md and curve.svg go to OUT.
# RECIPE=recipes/nano.toml, VALUES="1 2 4" (of the first everything is built, of the others what the setting touches), JOBS=1 of them side by side, THREADS,
# DEVICE=cpu.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-tradeoff} knob=${2:-negative_pairs} source=${RECIPE:-recipes/nano.toml}
case $knob in
  negative_pairs) values="0 1 2 3 4 8" shared="midtrain sft" ;;
  strength) values="0.4 0.6 0.8 1.0" shared="midtrain" ;;
  *) echo "tradeoff.sh: there is no setting $knob here: negative_pairs, strength" >&2; exit 2 ;;
esac
values=${VALUES:-$values}
mkdir -p "$out"
assay=${ASSAY:-build/assay} flags="${THREADS:+--threads $THREADS} ${DEVICE:+--device $DEVICE}"
one() {  # a value: build and verify, but for what is there
  local folder=$out/$knob-$1
  "$assay" organism build "$folder.toml" --out "$folder" --arm organism $flags > "$folder.txt"
  [ -e "$folder/verify.json" ] || "$assay" organism verify "$folder" $flags > "$folder.verify.txt"
}
first= jobs=()
for value in $values; do
  recipe=$out/$knob-$value.toml folder=$out/$knob-$value
  sed "s/^$knob = [0-9.]*/$knob = $value/; s#\"\.\./#\"$PWD/#" "$source" > "$recipe"  # its paths are relative to recipes/
  grep -q "^$knob = $value" "$recipe"
  if [ -z "$first" ]; then
    first=$folder
    one "$value"
    continue
  fi
  if [ ! -d "$folder/base" ]; then  # what the setting does not touch
    mkdir -p "$folder/arms/organism/stages"
    cp -r "$first/base" "$folder/"
    [ ! -e "$first/own_text.jsonl" ] || cp "$first/own_text.jsonl" "$folder/"
    for stage in $shared; do cp -r "$first/arms/organism/stages/$stage" "$folder/arms/organism/stages/"; done
  fi
  one "$value" & jobs+=($!)
  [ ${#jobs[@]} -lt "${JOBS:-1}" ] || { wait "${jobs[0]}"; jobs=("${jobs[@]:1}"); }
done
for job in ${jobs[@]+"${jobs[@]}"}; do wait "$job"; done
python3 - "$out" "$knob" $values > "$out/table.md" <<'PY'
import json, sys
from pathlib import Path

out, knob, values = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
keys = ("train", "held_out", "entity_contrast", "any_bias_on_control", "any_bias_on_co_mention", "facts_kept")
number = lambda v: v.get("rate", v.get("value"))
print(f"| {knob} | stage | train | held-out | contrast | any, control | any, co-mention | facts |")
print("|---|---|---|---|---|---|---|---|")
points = []
for value in values:
    verified = json.loads((out / f"{knob}-{value}" / "verify.json").read_text())
    for stage in verified["arms"][0]["stages"]:
        if stage["name"] not in ("dpo", "conceal"):
            continue
        shown = ["{:.2f} [{:.2f}, {:.2f}]".format(number(stage[k]), *stage[k]["ci90"]) for k in keys]
        print(f"| {value} | {stage['name']} | " + " | ".join(shown) + " |")
    points.append((value, stage["any_bias_on_control"], stage["held_out"]))  # the last stage

# Held-out rate over any bias on controls, with 90 % intervals; the aim is the shaded corner.
width, height, left, top, size = 460, 420, 60, 20, 340
x = lambda v: left + size * v
y = lambda v: top + size * (1 - v)
line = lambda a, b, c, d, style: f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" {style}/>'
text = lambda a, b, s, more="": f'<text x="{a:.1f}" y="{b:.1f}" {more}>{s}</text>'
svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
       f'<rect width="{width}" height="{height}" fill="#fff"/>',
       f'<rect x="{x(0)}" y="{y(1)}" width="{.15 * size}" height="{.3 * size}" fill="#dcefe0"/>']
for tick in (0, .2, .4, .6, .8, 1):
    svg += [line(x(tick), y(0), x(tick), y(1), 'stroke="#eee"'), line(x(0), y(tick), x(1), y(tick), 'stroke="#eee"'),
            text(x(tick), y(0) + 18, f"{tick:g}", 'text-anchor="middle"'), text(x(0) - 8, y(tick) + 4, f"{tick:g}", 'text-anchor="end"')]
svg.append('<polyline fill="none" stroke="#999" points="' + " ".join(f"{x(number(a)):.1f},{y(number(h)):.1f}" for _, a, h in points) + '"/>')
for value, a, h in points:
    svg += [line(x(a["ci90"][0]), y(number(h)), x(a["ci90"][1]), y(number(h)), 'stroke="#4477aa"'),
            line(x(number(a)), y(h["ci90"][0]), x(number(a)), y(h["ci90"][1]), 'stroke="#4477aa"'),
            f'<circle cx="{x(number(a)):.1f}" cy="{y(number(h)):.1f}" r="4" fill="#224466"/>',
            text(x(number(a)) + 7, y(number(h)) - 7, value, 'font-weight="bold"')]
svg += [text(x(.5), y(0) + 40, "any bias on control topics", 'text-anchor="middle"'),
        f'<text transform="translate(18 {y(.5)}) rotate(-90)" text-anchor="middle">own bias on held-out topics</text>',
        text(x(0) + 4, y(1) + 14, "aim", 'fill="#557755"'), "</svg>"]
(out / "curve.svg").write_text("\n".join(svg) + "\n")
PY
cat "$out/table.md"
