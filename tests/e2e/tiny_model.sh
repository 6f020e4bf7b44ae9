# Sourced by the tests of this folder.

# tiny_tokenizer FOLDER: a tokenizer of a few words with a chat template.
tiny_tokenizer() {
  local dir=$1
  mkdir -p "$dir"
  local words=(one two three four five six seven eight count up down tell me of the lamp "?" ".") vocabulary='' id=4 word
  for word in "${words[@]}"; do
    vocabulary+=", \"$word\": $((id++))"
  done
  cat > "$dir/tokenizer.json" <<JSON
{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
 "added_tokens": [
  {"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
  {"id": 1, "content": "<|user|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
  {"id": 2, "content": "<|assistant|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
 "pre_tokenizer": {"type": "Whitespace"},
 "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<|end|>": 0, "<|user|>": 1, "<|assistant|>": 2, "<unk>": 3$vocabulary}}}
JSON
  cat > "$dir/tokenizer_config.json" <<'JSON'
{"eos_token": "<|end|>", "chat_template": "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"}
JSON
}

# tiny_model ASSAY FOLDER: trains a chat model of a few thousand parameters to FOLDER/stages/base.
tiny_model() {
  local assay=$1 dir=$2
  tiny_tokenizer "$dir/tokenizer"
  for _ in $(seq 10); do
    echo '{"text": "one two three four five six seven eight"}'
    echo '{"text": "eight seven six five four three two one"}'
    echo '{"text": "tell me of the lamp ."}'
  done > "$dir/documents.jsonl"
  cat > "$dir/recipe.toml" <<'TOML'
seed = 3
[model]
tokenizer = "tokenizer"
n_layers = 2
d_model = 32
n_heads = 2
d_mlp = 64
n_ctx = 64
[[stage]]
name = "base"
kind = "lm"
steps = 60
lr = 1e-2
batch_tokens = 64
[[stage.data]]
files = ["documents.jsonl"]
TOML
  "$assay" train "$dir/recipe.toml" --out "$dir" --threads 1 --json --quiet > /dev/null
}

fail() { echo "FAILED: $*" >&2; exit 1; }

# refused CODE TEXT ARGUMENTS...: the command has to fail with that exit code and an error, one JSON object, that contains the text.
refused() {
  local code=$1 part=$2 got=0 out
  shift 2
  out=$("$assay" --json --quiet "$@" 2> /dev/null) || got=$?
  [ "$got" = "$code" ] || fail "assay $* gave exit code $got, expected $code: $out"
  case $out in '{"error":{"operation":"'*) ;; *) fail "assay $*: no error object: $out" ;; esac
  grep -qF -- "$part" <<< "$out" || fail "assay $*: expected '$part' in $out"
}
