#!/usr/bin/env bash
# --device: what is refused, and where there is a GPU, that it gives what the CPU gives and the same bits again. ASSAY_DEVICE=cuda asks for the
# second part; without it only the first runs.
set -euo pipefail
assay=$1
source "$(dirname "$0")/tiny_model.sh"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
tiny_model "$assay" "$dir"
model=$dir/stages/base

refused 2 "expected cpu, cuda or cuda:N" chat "$model" --prompt one --device gpu
refused 2 "expected cpu, cuda or cuda:N" chat "$model" --prompt one --device cuda:x
refused 2 "computes on the CPU" sae train "$model" "$dir/documents.jsonl" --out "$dir/sae" --device cuda
if [ -z "${ASSAY_DEVICE:-}" ]; then
  if ! "$assay" chat "$model" --prompt one --max-new 1 --device cuda --quiet > /dev/null 2>&1; then
    refused 2 "--device cuda" chat "$model" --prompt one --device cuda
  fi
  echo "no ASSAY_DEVICE: nothing was run on a GPU"
  exit 0
fi

device=$ASSAY_DEVICE
on() { "$assay" --json --quiet --threads 1 --device "$1" "${@:2}"; }
number() { sed -E "s/.*\"$1\":(-?[0-9.e+-]+).*/\1/"; }
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(d < t && d > -t) }' || fail "$4: $1 against $2"; }
same() { cmp -s "$1" "$2" || fail "$3"; }

# Losses and log-probabilities; greedy and sampled text; many rows, prompts of unequal length, a shared prefix.
text='one two three four five six'
for dtype in f32 bf16; do
  tolerance=$([ $dtype = f32 ] && echo 1e-4 || echo 2e-2)
  near "$(on cpu forward "$model" --text "$text" --dtype $dtype | number loss)" "$(on "$device" forward "$model" --text "$text" --dtype $dtype | number loss)" $tolerance "forward $dtype"
  near "$(on cpu score "$model" --prompt one --completion "two three four" --dtype $dtype | number logprob)" \
       "$(on "$device" score "$model" --prompt one --completion "two three four" --dtype $dtype | number logprob)" $tolerance "score $dtype"
done
for i in $(seq 40); do echo "{\"id\": \"p$i\", \"text\": \"count up tell me of the lamp $(seq -s ' ' $((i % 5)) | tr '1-5' '?')\"}"; done > "$dir/prompts.jsonl"
many() { on "$1" chat "$model" --prompts "$dir/prompts.jsonl" --n 5 --max-new 24 --temperature "$2" --seed 2 --dtype f32 --out "$3" > /dev/null; }
for temperature in 0 1; do
  many cpu $temperature "$dir/cpu-$temperature.jsonl"
  many "$device" $temperature "$dir/gpu-$temperature.jsonl"
  many "$device" $temperature "$dir/again-$temperature.jsonl"
  same "$dir/gpu-$temperature.jsonl" "$dir/again-$temperature.jsonl" "the same seed gave other samples on $device"
done
texts() { sed -E 's/.*"text":"([^"]*)".*/\1/' "$1" | sort; }
cmp -s <(texts "$dir/cpu-0.jsonl") <(texts "$dir/gpu-0.jsonl") || fail "greedy texts differ between cpu and $device"

# Training: the CPU's losses, the same bits again, also over a stop.
sed 's/^steps = 60/steps = 40\nprecision = "f32"\ncheckpoint_every = 5\nlog_every = 1/' "$dir/recipe.toml" > "$dir/f32.toml"
for run in cpu "$device" "$device-again"; do on "${run%-again}" train "$dir/f32.toml" --out "$dir/$run" > "$dir/$run.json"; done
near "$(number final_loss < "$dir/cpu.json")" "$(number final_loss < "$dir/$device.json")" 1e-3 "training in f32"
same "$dir/$device/stages/base/model.safetensors" "$dir/$device-again/stages/base/model.safetensors" "training twice on $device gave other weights"
sed 's/^steps = 60/steps = 1500\ncheckpoint_every = 10/' "$dir/recipe.toml" > "$dir/long.toml"
on "$device" train "$dir/long.toml" --out "$dir/whole" > /dev/null
"$assay" --quiet --threads 1 --device "$device" train "$dir/long.toml" --out "$dir/killed" > /dev/null & pid=$!
until [ -e "$dir/killed/runs/base/checkpoint.safetensors" ]; do sleep 0.05; kill -0 $pid 2> /dev/null || break; done
kill -9 $pid 2> /dev/null || echo "the run had ended before it was killed"; wait $pid 2> /dev/null || true
on "$device" train "$dir/long.toml" --out "$dir/killed" > /dev/null
same "$dir/whole/stages/base/model.safetensors" "$dir/killed/stages/base/model.safetensors" "training over a kill gave other weights on $device"
echo "$device gives what the CPU gives"
