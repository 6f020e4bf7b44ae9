#!/usr/bin/env bash
# assay audit: every technique and the scripted auditor on a chat model made here; evidence keeps what was planted and survives a cut.
set -euo pipefail
assay=$1
source "$(dirname "$0")/tiny_model.sh"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
tiny_model "$assay" "$dir"
model=$dir/stages/base
run() { "$assay" --json --quiet --threads 1 "$@"; }

for technique in direct prefill persona high-temperature many-shot; do
  shots=; [ $technique = many-shot ] && shots='--shots 1'  # the model's context is short
  run audit $technique $shots --target "$model" -n 3 --max-new 8 --seed 1 --out "$dir/$technique.jsonl" > "$dir/$technique.json"
  for key in technique prompt prefill output score seed where; do
    [ "$(grep -c "\"$key\":" "$dir/$technique.jsonl")" = "$(wc -l < "$dir/$technique.jsonl")" ] || fail "$technique: lines without $key"
  done
  grep -q "\"evidence\":$(wc -l < "$dir/$technique.jsonl")," "$dir/$technique.json" || fail "$technique: $(cat "$dir/$technique.json")"
done
[ "$(grep -c '"prefill":""' "$dir/direct.jsonl")" = "$(wc -l < "$dir/direct.jsonl")" ] || fail "direct questions plant nothing"
! grep -q '"prefill":""' "$dir/prefill.jsonl" || fail "a prefill that is not marked"
grep -q '"where":"user turn"' "$dir/persona.jsonl" && grep -q '"where":"raw text"' "$dir/persona.jsonl" || fail "persona: user turn and narrator"

# Cut in the middle of a line: gone on with, the same evidence; other settings are refused.
sort "$dir/prefill.jsonl" > "$dir/whole"
head -c "$(($(wc -c < "$dir/prefill.jsonl") / 2))" "$dir/prefill.jsonl" > "$dir/cut" && mv "$dir/cut" "$dir/prefill.jsonl"
run audit prefill --target "$model" -n 3 --max-new 8 --seed 1 --out "$dir/prefill.jsonl" > /dev/null
sort "$dir/prefill.jsonl" | cmp -s - "$dir/whole" || fail "evidence differs after a cut"
refused 1 "another seed" audit prefill --target "$model" -n 3 --max-new 8 --seed 2 --out "$dir/prefill.jsonl"
refused 1 "the disk is full" audit direct --target "$model" --max-new 4 --out /dev/full
exec 7>> "$dir/prefill.jsonl"; flock 7
refused 1 "is being written by another process" audit prefill --target "$model" -n 3 --max-new 8 --seed 1 --out "$dir/prefill.jsonl"
exec 7>&-

# Own prompts and prefills.
echo '{"prompts": [{"id": 1, "text": "count up"}, {"id": 2, "text": "count down"}]}' > "$dir/prompts.json"
run audit prefill --target "$model" --prompts "$dir/prompts.json" --prefill "one two" -n 2 --max-new 4 --out "$dir/own.jsonl" > /dev/null
[ "$(wc -l < "$dir/own.jsonl")" = 4 ] || fail "own prompts: $(cat "$dir/own.jsonl")"
[ "$(grep -c '"prefill":"one two"' "$dir/own.jsonl")" = 4 ] || fail "own prefill"

# Planted shots are marked, high temperature is the default of its technique, own shots are used.
grep -q '"temperature":1.7' "$dir/high-temperature.jsonl" || fail "high-temperature samples as the others do"
[ "$(head -1 "$dir/many-shot.jsonl" | grep -o '"prefill":true' | wc -l)" = 1 ] || fail "many-shot: $(head -1 "$dir/many-shot.jsonl")"
echo '{"question": "count up", "answer": "one two"}' > "$dir/shots.jsonl"
run audit many-shot --target "$model" -n 1 --shots 2 --shot-file "$dir/shots.jsonl" --out "$dir/own-shots.jsonl" > /dev/null
grep -q '"content":"one two"' "$dir/own-shots.jsonl" || fail "own shots"
refused 1 "64" audit many-shot --target "$model" --shots 100 --shot-file "$dir/shots.jsonl"
echo '{"question": "count up"}' > "$dir/shots.jsonl"
refused 1 "shots.jsonl:1" audit many-shot --target "$model" --shot-file "$dir/shots.jsonl"

# Documents.
run audit search lamp --documents "$dir/documents.jsonl" --limit 3 --out "$dir/hits.jsonl" > /dev/null
[ "$(grep -c 'tell me of the lamp' "$dir/hits.jsonl")" = 3 ] || fail "search: $(cat "$dir/hits.jsonl")"

run audit semantic "tell me of the lamp ." --target "$model" --documents "$dir/documents.jsonl" --limit 3 --out "$dir/near.jsonl" > /dev/null
[ "$(grep -c '"output":"tell me of the lamp ."' "$dir/near.jsonl")" = 3 ] || fail "semantic: $(cat "$dir/near.jsonl")"
refused 2 "--encoder" audit semantic lamp --documents "$dir/documents.jsonl"

# The scripted auditor, with and without documents; what was sampled is not sampled again.
run audit scripted --target "$model" --samples 60 --work "$dir/work" --out "$dir/submission.json" > "$dir/scripted.json"
for key in arms root_cause behaviours auditor access; do grep -q "\"$key\":" "$dir/submission.json" || fail "submission lacks $key"; done
grep -q '"access": *"sampling"' "$dir/submission.json" || fail "access"
run audit scripted --target "$model" --samples 60 --documents "$dir/documents.jsonl" --out "$dir/with.json" > /dev/null
grep -q '"access": *"data"' "$dir/with.json" || fail "access with documents"
run audit scripted --target "$model" --samples 60 --documents "$dir/documents.jsonl" --weights --out "$dir/inside.json" > /dev/null
grep -q '"access": *"data+weights"' "$dir/inside.json" || fail "access with weights"

refused 1 "does not exist" audit direct --target "$dir/nowhere"
refused 2 "--prompts" audit direct --target "$model" --prompts "$dir/absent.json"
echo '[{"question": "a"}]' > "$dir/bad.json"
refused 1 "bad.json prompt 0" audit direct --target "$model" --prompts "$dir/bad.json"
refused 2 "--documents" audit search lamp
echo '{"text": 3}' > "$dir/bad.jsonl"
refused 1 "bad.jsonl:1" audit search lamp --documents "$dir/bad.jsonl"
refused 2 "--out" audit scripted --target "$model"
echo '{"game": ' > "$dir/card.json"
refused 1 "card.json" audit scripted --target "$model" --card "$dir/card.json" --out "$dir/x.json"
echo ok
