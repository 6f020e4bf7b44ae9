#!/usr/bin/env bash
# assay sae on a chat model made here: train, stop and go on, evaluate, encode; latents as an audit technique.
set -euo pipefail
assay=$1
source "$(dirname "$0")/tiny_model.sh"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
tiny_model "$assay" "$dir"
model=$dir/stages/base
run() { "$assay" --json --quiet --threads 1 --seed 3 "$@"; }
for _ in 1 2 3 4 5; do
  echo '{"messages": [{"role": "user", "content": "count up"}, {"role": "assistant", "content": "one two three"}]}'
  echo '{"messages": [{"role": "user", "content": "tell me of the lamp"}, {"role": "assistant", "content": "the lamp ."}]}'
done > "$dir/chats.jsonl"
train() { run sae train "$model" "$dir/documents.jsonl" "$dir/chats.jsonl" --latents 64 --k 4 --batch 64 --lr 3e-3 --checkpoint-every 20 "$@"; }

train --steps 400 --out "$dir/sae" > "$dir/train.json"
for key in path hook d_in d_sae k steps tokens explained_variance l0 dead; do grep -q "\"$key\":" "$dir/train.json" || fail "train lacks $key"; done
grep -q '"hook":"blocks.0.hook_resid_post"' "$dir/train.json" || fail "hook: $(cat "$dir/train.json")"
[ -s "$dir/sae/cfg.json" ] && [ -s "$dir/sae/sae_weights.safetensors" ] || fail "no SAELens folder"
grep -q '"architecture": "topk"' "$dir/sae/cfg.json" && grep -q '"sae_lens_version": "6' "$dir/sae/cfg.json" || fail "cfg.json"

# Killed and gone on with: the same weights.
train --steps 400 --out "$dir/again" > /dev/null & victim=$!
for _ in $(seq 200); do [ -e "$dir/again/checkpoint.safetensors" ] && break; sleep 0.02; done
kill -9 $(pgrep -P $victim || echo $victim) 2> /dev/null || true; wait $victim 2> /dev/null || true
train --steps 400 --out "$dir/again" > /dev/null
cmp -s "$dir/sae/sae_weights.safetensors" "$dir/again/sae_weights.safetensors" || fail "a killed training ends elsewhere"
refused 1 "of another run" --threads 1 sae train "$model" "$dir/documents.jsonl" --out "$dir/sae" --steps 400 --latents 64 --k 4 --seed 3

run sae eval "$dir/sae" --model "$model" --corpus "$dir/documents.jsonl" > "$dir/eval.json"
for key in l0 explained_variance fvu ce_recovered kl_score dead; do grep -q "\"$key\":" "$dir/eval.json" || fail "eval lacks $key"; done
python3 - "$dir/eval.json" <<'PY' || fail "eval: $(cat "$dir/eval.json")"
import json, sys
e = json.load(open(sys.argv[1]))
assert e["explained_variance"] > 0.9 and e["ce_recovered"] > 0.9 and 0 < e["l0"] <= 4 and abs(e["fvu"] + e["explained_variance"] - 1) < 1e-9
PY

"$assay" forward "$model" --text "count up" --capture blocks.0.hook_resid_post --out "$dir/acts.safetensors" --quiet --json > /dev/null
python3 - "$dir/acts.safetensors" "$dir/x.safetensors" <<'PY'
import sys
name = b'"blocks.0.hook_resid_post"'
data = open(sys.argv[1], "rb").read().replace(name, b'"x"'.ljust(len(name)))
open(sys.argv[2], "wb").write(data)
PY
run sae encode "$dir/sae" --input "$dir/x.safetensors" --out "$dir/codes.safetensors" | grep -q '"rows":2' || fail "encode"

audit() { run audit latents --target "$model" --documents "$dir/documents.jsonl" --chats "$dir/chats.jsonl" --latents 64 --k 4 --steps 200 "$@"; }
audit --prompt "count up" --prompt "tell me of the lamp" --assistant --limit 3 --out "$dir/latents.jsonl" --save "$dir/saved" > "$dir/latents.json"
for key in technique prompt prefill output score seed where; do
  [ "$(grep -c "\"$key\":" "$dir/latents.jsonl")" = "$(wc -l < "$dir/latents.jsonl")" ] || fail "latents: lines without $key"
done
grep -q "at '<|assistant|>'" "$dir/latents.jsonl" && grep -q 'jsonl:' "$dir/latents.jsonl" || fail "latents: $(cat "$dir/latents.jsonl")"
audit --sae "$dir/saved" --search "the lamp" --limit 2 > "$dir/search.json"
[ "$(grep -o '"technique":"latents"' "$dir/search.json" | wc -l)" = 2 ] || fail "search: $(cat "$dir/search.json")"

refused 2 "nothing is asked" --threads 1 audit latents --target "$model" --documents "$dir/documents.jsonl"
refused 1 "no hook point" --threads 1 sae train "$model" "$dir/documents.jsonl" --out "$dir/no" --hook blocks.9.hook_resid_post --steps 1
cp -r "$dir/sae" "$dir/broken" && sed -i 's/"d_sae": 64/"d_sae": 65/' "$dir/broken/cfg.json"
refused 1 "has the shape" --threads 1 sae eval "$dir/broken" --model "$model" --corpus "$dir/documents.jsonl"
head -c 100 "$dir/sae/sae_weights.safetensors" > "$dir/broken/sae_weights.safetensors"
refused 1 "sae_weights.safetensors" --threads 1 sae eval "$dir/broken" --model "$model" --corpus "$dir/documents.jsonl"
echo ok
