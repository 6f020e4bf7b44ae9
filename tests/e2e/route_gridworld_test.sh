#!/usr/bin/env bash
# assay route gridworld: a tiny experiment, killed and gone on with; what it prints, writes and refuses.
set -euo pipefail
assay=$1
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
grid() { "$assay" --json --quiet --threads 1 --seed 5 route gridworld --levels .2 --seeds 2 --lr 1e-3 --environments 32 "$@"; }

grid --updates 12 --methods routed,naive,filtering,oracle,routed-no-gate,gate-no-routing --out "$dir/all" > "$dir/all.json"
python3 - "$dir/all.json" "$dir/all" <<'PY' || fail "results: $(head -c 2000 "$dir/all.json")"
import json, os, sys
r = json.load(open(sys.argv[1]))
assert r["name"] == "gridworld" and r == json.load(open(sys.argv[2] + "/results.json"))
assert {s["method"] for s in r["settings"]} == {"routed", "naive", "filtering", "oracle", "routed-no-gate", "gate-no-routing"}
for s in r["settings"]:
    m = s["metrics"]["return"]
    assert s["level"] == 0.2 and s["seeds"] == [5, 6] and len(m["seeds"]) == 2 and m["ci90"][0] <= m["mean"] <= m["ci90"][1]
    assert abs(sum(m["seeds"]) / 2 - m["mean"]) < 1e-9 and all(-1 <= v <= 1 for v in m["seeds"])
    assert ("ghost_return" in s["metrics"]) == (s["method"] in ("routed", "routed-no-gate", "gate-no-routing"))
    assert s["curve"]["x"][0] == 0 and s["curve"]["x"][-1] == 12 and len(s["curve"]["return"]["mean"]) == len(s["curve"]["x"])
    assert s["training"]["updates_each"] == (2 if s["method"] == "oracle" else 12)
    assert all(os.path.exists(f"{sys.argv[2]}/runs/{s['method']}-at-0.2-seed-{seed}/policy.safetensors") for seed in (5, 6))
html = open(sys.argv[2] + "/report.html").read()
assert "<animate" in html and "routed-no-gate" in html and "http" not in html
PY

# Killed and gone on with: the same policies.
long=(--updates 160 --methods routed --checkpoint-every 10)
grid "${long[@]}" --out "$dir/whole" > "$dir/whole.json"
grid "${long[@]}" --out "$dir/parts" > /dev/null & victim=$!
for _ in $(seq 3000); do ls "$dir"/parts/runs/*/checkpoint.safetensors > /dev/null 2>&1 && break; sleep 0.02; done
kill -9 $(pgrep -P $victim || echo $victim) 2> /dev/null || true; wait $victim 2> /dev/null || true
for _ in $(seq 200); do pgrep -f -- "--out $dir/parts" > /dev/null || break; sleep 0.05; done
[ ! -e "$dir/parts/results.json" ] || fail "killed too late"
grid "${long[@]}" --out "$dir/parts" > "$dir/parts.json"
for seed in 5 6; do cmp -s "$dir"/{whole,parts}/runs/routed-at-0.2-seed-$seed/policy.safetensors || fail "a killed run ends elsewhere"; done

refused() { local code=$1 what=$2; shift 2; local rc=0; "$assay" --json --quiet --threads 1 route gridworld "$@" > "$dir/err" 2>&1 || rc=$?
  [ $rc = "$code" ] && grep -q "$what" "$dir/err" || fail "exit $rc, $(head -c 500 "$dir/err")"; }
refused 2 "is no method" --methods magic --out "$dir/no"
refused 2 "levels" --levels 1.5 --out "$dir/no"
refused 2 "updates" --updates 0 --out "$dir/no"
refused 2 "is no run" --run routed:x:0 --out "$dir/no"
refused 1 "of another run" --seed 5 --levels .2 --seeds 1 --methods routed --updates 13 --lr 1e-3 --environments 32 --out "$dir/all"
echo ok
