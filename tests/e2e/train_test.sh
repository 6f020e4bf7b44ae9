#!/usr/bin/env bash
# assay train: three stages from random weights; killed and started again it ends in the same bytes; wrong recipes are clear errors.
set -euo pipefail
assay=$1
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir "$dir/tokenizer"
cat > "$dir/tokenizer/tokenizer.json" <<'JSON'
{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
 "added_tokens": [
  {"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
  {"id": 1, "content": "<|user|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
  {"id": 2, "content": "<|assistant|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
 "pre_tokenizer": {"type": "Whitespace"},
 "model": {"type": "WordLevel", "unk_token": "<unk>",
  "vocab": {"<|end|>": 0, "<|user|>": 1, "<|assistant|>": 2, "<unk>": 3, "one": 4, "two": 5, "three": 6, "four": 7, "five": 8, "count": 9, "up": 10, "down": 11}}}
JSON
cat > "$dir/tokenizer/tokenizer_config.json" <<'JSON'
{"eos_token": "<|end|>", "chat_template": "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"}
JSON
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
refused() { # SED-EXPRESSION EXPECTED-TEXT FOLDER
  sed "$1" "$dir/recipe.toml" > "$dir/other.toml"
  local code=0
  "$assay" train "$dir/other.toml" --out "$3" --threads 1 --json --quiet > "$dir/error.json" 2>/dev/null || code=$?
  [ $code = 1 ] || fail "exit code $code for $1"
  grep -q -- "$2" "$dir/error.json" || fail "$1: $(cat "$dir/error.json")"
}
refused 's/lr = 1e-2/lr = 2e-2/' 'options.lr: 0.01 in the folder, 0.02 asked for' "$dir/whole"
refused 's/pairs_per_batch/pair_per_batch/' 'pair_per_batch' "$dir/new"
refused 's/kind = "dpo"/kind = "ppo"/' 'expected lm, sft or dpo' "$dir/new"
refused 's/n_ctx = 32/n_ctx = 6/' 'chats.jsonl:1 has' "$dir/new"
refused 's/documents.jsonl/absent.jsonl/' 'absent.jsonl' "$dir/new"
echo '{"messages": [{"role": "user"' >> "$dir/chats.jsonl"
refused 's/x/x/' 'chats.jsonl:2' "$dir/new"
echo ok
