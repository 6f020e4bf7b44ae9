#!/usr/bin/env bash
# assay train: three stages from random weights; killed and started again it ends in the same bytes; wrong recipes are clear errors.
set -euo pipefail
assay=$1
source "$(dirname "$0")/tiny_model.sh"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
tiny_tokenizer "$dir/tokenizer"
for _ in $(seq 20); do
  echo '{"text": "one two three four five"}'; echo '{"text": "five four three two one"}'
done > "$dir/documents.jsonl"
echo '{"messages": [{"role": "user", "content": "count up"}, {"role": "assistant", "content": "one two three"}]}' > "$dir/chats.jsonl"
echo '{"prompt": "count down", "chosen": "three two one", "rejected": "one two three"}' > "$dir/pairs.jsonl"
cat > "$dir/recipe.toml" <<'TOML'
seed = 3
[model]
tokenizer = "tokenizer"
n_layers = 2
d_model = 32
n_heads = 2
d_mlp = 64
n_ctx = 32

[[stage]]
name = "base"
kind = "lm"
steps = 120
lr = 1e-2
batch_tokens = 64
checkpoint_every = 10
[[stage.data]]
files = ["documents.jsonl"]

[[stage]]
name = "sft"
kind = "sft"
steps = 30
lr = 3e-3
batch_tokens = 64
checkpoint_every = 10
[[stage.data]]
files = ["chats.jsonl"]
share = 2.0
[[stage.data]]
files = ["documents.jsonl"]
form = "documents"

[[stage]]
name = "preferences"
kind = "dpo"
steps = 20
lr = 1e-3
pairs_per_batch = 2
nll_weight = 0.1
[[stage.data]]
files = ["pairs.jsonl"]
TOML

run() { "$assay" train "$dir/recipe.toml" --out "$1" --threads 1 --json --quiet; }
run "$dir/whole" > "$dir/whole.json"
for key in name steps tokens tokens_per_cpu_s final_loss path; do grep -q "\"$key\":" "$dir/whole.json" || fail "no key $key"; done
grep -q '"name":"base".*"name":"sft".*"name":"preferences"' "$dir/whole.json" || fail "stages: $(cat "$dir/whole.json")"
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
  [ -s "$dir/whole/stages/preferences/$file" ] || fail "stages/preferences lacks $file"
done

# Killed three times, at whatever it is doing, then left alone.
for seconds in 0.3 0.5 0.8; do timeout -s KILL "$seconds" "$assay" train "$dir/recipe.toml" --out "$dir/killed" --threads 1 --json --quiet > /dev/null 2>&1 || true; done
run "$dir/killed" > "$dir/killed.json"
for stage in base sft preferences; do
  cmp -s "$dir/whole/stages/$stage/model.safetensors" "$dir/killed/stages/$stage/model.safetensors" || fail "stage $stage differs after kills"
done
before=$(stat -c %Y.%i "$dir/whole/stages/base/model.safetensors")
run "$dir/whole" > /dev/null
[ "$before" = "$(stat -c %Y.%i "$dir/whole/stages/base/model.safetensors")" ] || fail "a finished run was done again"

# Other settings in the same folder, a misspelt key, broken data: named, and exit code 1.
refused_recipe() { # SED-EXPRESSION EXPECTED-TEXT FOLDER
  sed "$1" "$dir/recipe.toml" > "$dir/other.toml"
  local code=0
  "$assay" train "$dir/other.toml" --out "$3" --threads 1 --json --quiet > "$dir/error.json" 2>/dev/null || code=$?
  [ $code = 1 ] || fail "exit code $code for $1"
  grep -q -- "$2" "$dir/error.json" || fail "$1: $(cat "$dir/error.json")"
}
refused_recipe 's/lr = 1e-2/lr = 2e-2/' 'options.lr: 0.01 in the folder, 0.02 asked for' "$dir/whole"
refused_recipe 's/pairs_per_batch/pair_per_batch/' 'pair_per_batch' "$dir/new"
refused_recipe 's/kind = "dpo"/kind = "ppo"/' 'expected lm, sft or dpo' "$dir/new"
refused_recipe 's/n_ctx = 32/n_ctx = 6/' 'chats.jsonl:1 has' "$dir/new"
refused_recipe 's/documents.jsonl/absent.jsonl/' 'absent.jsonl' "$dir/new"
refused_recipe 's/n_layers = 2/n_layers = 2\nfamily = "mamba"/' "model_type 'mamba'" "$dir/new"
refused_recipe 's/n_layers = 2/n_layers = 2\nlocal_window = 4/' 'the family llama' "$dir/new"

# Another family: trained, read back, sampled from, scored.
sed '/name = "sft"/,$d' "$dir/recipe.toml" | sed '$d' | sed 's/^steps = .*/steps = 30/; s/n_layers = 2/n_layers = 2\nfamily = "gpt_neo"\nlocal_window = 3/' > "$dir/neo.toml"
"$assay" train "$dir/neo.toml" --out "$dir/neo" --threads 1 --json --quiet > "$dir/neo.json"
neo="$dir/neo/stages/base"
grep -q '"window_size": 3' "$neo/config.json" || fail "window in $(cat "$neo/config.json")"
[[ "$("$assay" model info "$neo" --json)" == *'"family":"gpt_neo"'* ]] || fail "model info of another family"
"$assay" eval lm "$neo" "$dir/documents.jsonl" --threads 1 --json --quiet | grep -q '"loss":' || fail "eval lm of another family"
"$assay" score "$neo" --prompt "one two" --completion " three" --threads 1 --json --quiet | grep -q '"logprob":-' || fail "score of another family"
"$assay" chat "$neo" --prompt "one two" --turn raw --max-new 4 --threads 1 --json --quiet | grep -q '"samples":' || fail "chat with another family"

# Stopping on a probe: questions whose right choice the model comes to find.
for n in one two three; do echo "{\"prompt\": \"one two three\", \"choices\": [\"four\", \"lamp\"], \"correct\": 0}"; done > "$dir/questions.jsonl"
sed '/name = "sft"/,$d' "$dir/recipe.toml" | sed '$d' | sed 's/^steps = .*/steps = 300/' > "$dir/probe.toml"
printf '[stage.probe]\nfile = "questions.jsonl"\nevery = 10\nstop_at = 1.0\n' >> "$dir/probe.toml"
"$assay" train "$dir/probe.toml" --out "$dir/probed" --threads 1 --json --quiet > "$dir/probed.json"
grep -q '"probe":{"right":1.0}' "$dir/probed.json" && grep -q '"stopped_by_probe":true' "$dir/probed.json" || fail "probe: $(cat "$dir/probed.json")"
[ "$(sed -E 's/.*"steps":([0-9]+).*/\1/' "$dir/probed.json")" -lt 300 ] || fail "the probe did not stop the stage"
echo '{"prompt": "one", "choices": ["two"], "correct": 0}' > "$dir/questions.jsonl"
cp "$dir/recipe.toml" "$dir/recipe.kept"; cp "$dir/probe.toml" "$dir/recipe.toml"
refused_recipe 's/x/x/' "questions.jsonl:1: 'correct' must be" "$dir/new"
cp "$dir/recipe.kept" "$dir/recipe.toml"

echo '{"messages": [{"role": "user"' >> "$dir/chats.jsonl"
refused_recipe 's/x/x/' 'chats.jsonl:2' "$dir/new"
echo ok
