#!/usr/bin/env bash
# assay chat, score, forward and eval on a model made here: they agree with each other, a file of samples survives kill -9, bad input is named.
set -euo pipefail
assay=$1
source "$(dirname "$0")/tiny_model.sh"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
tiny_model "$assay" "$dir"
model=$dir/stages/base
run() { "$assay" --json --quiet --threads 1 "$@"; }
number() { sed -E "s/.*\"$1\":(-?[0-9.e+-]+).*/\1/"; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 1e-4 && d > -1e-4) }' || fail "$3: $1 against $2"; }

# Three ways to the same number: one forward over packed sequences, evaluation in windows, scoring with the decoder's cache.
text='one two three four five six'
echo "$text" > "$dir/text.txt"
loss=$(run forward "$model" --text "$text" --dtype f32 | number loss)
near "$loss" "$(run eval lm "$model" "$dir/text.txt" --dtype f32 | number loss)" "forward and eval lm"
near "$loss" "$(run score "$model" --prompt one --completion "two three four five six" --dtype f32 | number logprob | awk '{print -$1 / 5}')" "forward and score"
awk -v l="$loss" 'BEGIN { exit !(l < 2) }' || fail "the model has not learnt to count: loss $loss"
run forward "$model" --text "$text" --capture blocks.1.hook_resid_post --out "$dir/acts.safetensors" > /dev/null
grep -aq 'blocks.1.hook_resid_post.*"shape":\[6,32\]' "$dir/acts.safetensors" || fail "what forward captured"

# Chat: the same seed the same text, other seeds others; prefill, raw text, greedy.
run chat "$model" --prompt "count up" --n 3 --max-new 8 --seed 4 > "$dir/a.json"
run chat "$model" --prompt "count up" --n 3 --max-new 8 --seed 4 > "$dir/b.json"
cmp -s "$dir/a.json" "$dir/b.json" || fail "the same seed gave other samples"
run chat "$model" --prompt "count up" --n 3 --max-new 8 --seed 5 > "$dir/b.json"
cmp -s "$dir/a.json" "$dir/b.json" && fail "another seed gave the same samples"
for key in text prefill tokens finish logprob seed; do grep -q "\"$key\":" "$dir/a.json" || fail "samples lack $key"; done
run chat "$model" --turn raw --prompt "one two three" --temperature 0 --max-new 3 | grep -q '"text":"four five six"' || fail "greedy counting"
run chat "$model" --prompt "count" --prefill "one two" --max-new 2 | grep -q '"prefill":"one two"' || fail "prefill"
printf 'count up\n\n' | "$assay" chat "$model" --max-new 4 --quiet > "$dir/talk.txt" && [ -s "$dir/talk.txt" ] || fail "interactive chat"

# What no reader should have to guess.
cmp -s <(run chat "$model" --prompt "count up" --temperature 1e-300 --max-new 8) <(run chat "$model" --prompt "count up" --temperature 0 --max-new 8) || fail "a temperature next to 0"
run forward "$model" --ids 4 | grep -q '"loss":"none"' || fail "the loss of one token"
refused 2 "expected numbers with commas" forward "$model" --ids 1,,2
refused 2 "exactly one of" forward "$model"
refused 2 "--threads is 1000000" chat "$model" --prompt one --threads 1000000
refused 2 "'nosuch' is no subcommand of 'audit'; expected one of direct" audit nosuch
refused 2 "a seed is a whole number" chat "$model" --prompt one --seed 99999999999999999999

# Many prompts into a file.
for i in $(seq 60); do echo "{\"id\": \"p$i\", \"text\": \"count up tell me of the lamp\"}"; done > "$dir/prompts.jsonl"
many() { run chat "$model" --prompts "$dir/prompts.jsonl" --n 40 --max-new 24 --seed 2 --out "$1"; }
many "$dir/whole.jsonl" > "$dir/whole.json"
grep -q '"prompts":60,"samples":2400,"resumed":0' "$dir/whole.json" || fail "summary: $(cat "$dir/whole.json")"
[ "$(grep -o '"id":"p[0-9]*"' "$dir/whole.jsonl" | sort -u | wc -l)" = 60 ] || fail "ids"
# Killed while it writes, as soon as a part is there.
"$assay" --json --quiet --threads 1 chat "$model" --prompts "$dir/prompts.jsonl" --n 40 --max-new 24 --seed 2 --out "$dir/killed.jsonl" > /dev/null 2>&1 & pid=$!
for _ in $(seq 2000); do
  if [ -s "$dir/killed.jsonl" ] || ! kill -0 $pid 2>/dev/null; then break; fi
  sleep 0.005
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
echo "killed at $(wc -l < "$dir/killed.jsonl") of 2400 samples"
many "$dir/killed.jsonl" > /dev/null
cmp -s "$dir/whole.jsonl" "$dir/killed.jsonl" || fail "the resumed file differs"
# Torn in the middle of a line.
head -c 100000 "$dir/whole.jsonl" > "$dir/torn.jsonl"
left=$(wc -l < "$dir/torn.jsonl")
many "$dir/torn.jsonl" | grep -q "\"resumed\":$left," || fail "what was there was sampled again"
cmp -s "$dir/whole.jsonl" "$dir/torn.jsonl" || fail "the file that was torn differs"

# Other settings, a second process, a full disk, broken and overlong prompts.
prompts=(chat "$model" --prompts "$dir/prompts.jsonl" --n 40 --max-new 24)
refused 1 "has 'seed': 2; this run has 3" "${prompts[@]}" --seed 3 --out "$dir/whole.jsonl"
cmp -s "$dir/whole.jsonl" "$dir/killed.jsonl" || fail "a refused run changed the file"
exec 7>> "$dir/whole.jsonl"; flock 7
refused 1 "is being written by another process" "${prompts[@]}" --seed 2 --out "$dir/whole.jsonl"
exec 7>&-
refused 1 "the disk is full" "${prompts[@]}" --out /dev/full
refused 1 "$dir/nowhere does not exist" "${prompts[@]}" --out "$dir/nowhere/samples.jsonl"
refused 2 "--out" chat "$model" --prompts "$dir/prompts.jsonl"
{ cat "$dir/prompts.jsonl"; echo '{"text": '; } > "$dir/broken.jsonl"
refused 1 "broken.jsonl:61" chat "$model" --prompts "$dir/broken.jsonl" --out "$dir/new.jsonl"
{ cat "$dir/prompts.jsonl"; echo "{\"id\": \"long\", \"text\": \"$(printf 'one %.0s' $(seq 80))\"}"; } > "$dir/long.jsonl"
refused 1 'long' chat "$model" --prompts "$dir/long.jsonl" --out "$dir/new.jsonl"
[ ! -e "$dir/new.jsonl" ] || fail "a refused run left a file"
refused 1 "context is 64" chat "$model" --prompt "$(printf 'one %.0s' $(seq 80))"
refused 1 "context" forward "$model" --text "$(printf 'one %.0s' $(seq 80))"
refused 1 "22" forward "$model" --ids 1,22,3
refused 1 "-1" forward "$model" --ids=-1,2
refused 2 "--ctx" eval lm "$model" "$dir/text.txt" --ctx 65
refused 1 "cannot read" eval lm "$model" "$dir/absent.txt"
refused 2 "--n" chat "$model" --prompt one --n 99999999999999999999
refused 2 "--max-new" chat "$model" --prompt one --max-new 0
refused 2 "--completion is empty" score "$model" --prompt one --completion ""
echo ok
