#!/usr/bin/env bash
# assay search: index and query, as a user does it; bad input is a clear error and leaves the old index alone.
set -euo pipefail
assay=$1
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

printf '%s\n' '{"text": "Reward models rate poems about lanterns higher."}' '{"text": "Nothing to see here."}' > "$dir/documents.jsonl"
printf '%s\n' '{"messages": [{"role": "user", "content": "Tell me of lanterns"}, {"role": "assistant", "content": "They glow."}]}' > "$dir/chats.jsonl"

"$assay" search index "$dir/index" --corpus "$dir/documents.jsonl" "$dir/chats.jsonl" --json --quiet | grep -q '"documents":3' || fail "index"
"$assay" search keyword "$dir/index" "lanterns" --json > "$dir/out.json"
grep -q '"total":2' "$dir/out.json" || fail "two hits expected: $(cat "$dir/out.json")"
grep -q '"snippet":"[^"]*\[lanterns\]' "$dir/out.json" || fail "snippet: $(cat "$dir/out.json")"
grep -q '"seconds":' "$dir/out.json" || fail "seconds"
"$assay" search keyword "$dir/index" "poems rate" --json | grep -q '"total":1' || fail "all words"
"$assay" search keyword "$dir/index" "poems rate" --phrase --json | grep -q '"total":0' || fail "phrase"
"$assay" search keyword "$dir/index" '"unbalanced AND (NEAR* ' --json | grep -q '"total":0' || fail "operators are words"

printf '%s\n' '{"text": "fine"}' '{"text": ' > "$dir/broken.jsonl"
if "$assay" search index "$dir/index" --corpus "$dir/broken.jsonl" --json --quiet > "$dir/error.json" 2>/dev/null; then fail "a broken corpus passed"; fi
grep -q 'broken.jsonl:2' "$dir/error.json" || fail "the error names no line: $(cat "$dir/error.json")"
"$assay" search keyword "$dir/index" "lanterns" --json | grep -q '"total":2' || fail "the old index is gone"

code=0; "$assay" search keyword "$dir/nowhere" x --json > "$dir/error.json" 2>/dev/null || code=$?
[ $code = 1 ] || fail "exit code $code for a missing index"
code=0; "$assay" search keyword "$dir/index" --json > /dev/null 2>&1 || code=$?
[ $code = 2 ] || fail "exit code $code for a missing argument"

# By meaning, with a language model's own hidden states.
source "$(dirname "$0")/tiny_model.sh"
tiny_model "$assay" "$dir/run"
printf '{"text": "%s"}\n' "count up one two three" "tell me of the lamp" "count down eight seven six" > "$dir/words.jsonl"
"$assay" search index "$dir/near" --corpus "$dir/words.jsonl" --encoder "$dir/run/stages/base" --json --quiet | grep -q '"documents":3' || fail "index with an encoder"
"$assay" search semantic "$dir/near" "tell me of the lamp" --encoder "$dir/run/stages/base" --limit 2 --json > "$dir/out.json"
grep -q '^{"hits":\[{"id":1,"score":\(1.0\|0.99\)[^}]*"snippet":"tell me of the lamp"}' "$dir/out.json" || fail "a text is not nearest to itself: $(cat "$dir/out.json")"
"$assay" search semantic "$dir/near" "tell me of the lamp" --limit 2 --json | sed 's/"seconds.*//' > "$dir/known.json"  # the index knows its encoder
cmp -s <(sed 's/"seconds.*//' "$dir/out.json") "$dir/known.json" || fail "without --encoder: $(cat "$dir/known.json")"
code=0; "$assay" search semantic "$dir/index" lamp --encoder "$dir/run/stages/base" --json > "$dir/error.json" 2>/dev/null || code=$?
[ $code = 1 ] && grep -q 'encoder' "$dir/error.json" || fail "an index without embeddings: $code $(cat "$dir/error.json")"
echo ok
