#!/usr/bin/env bash
# Brings what a build needs: Debian packages, a Rust toolchain, libtorch. What is there already is left alone.
# Prints the libtorch folder (the one that holds lib/ and include/) on stdout; everything else goes to stderr.
set -euo pipefail

torch_version=2.11.0
cudart_version=13.0.96
cupti_version=13.0.85
cache="${XDG_CACHE_HOME:-$HOME/.cache}/assay"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# --- Debian packages: a probe (command, header or file) and the package that brings it -------------------------------
probes=(
  "cmd:g++ g++" "cmd:cmake cmake" "cmd:ninja ninja-build" "cmd:git git" "cmd:python3 python3" "cmd:curl curl" "cmd:ccache ccache"
  "file:/etc/ssl/certs/ca-certificates.crt ca-certificates"
  "hdr:nlohmann/json.hpp nlohmann-json3-dev" "hdr:toml++/toml.h libtomlplusplus-dev" "hdr:CLI/CLI.hpp libcli11-dev"
  "hdr:fmt/format.h libfmt-dev" "hdr:sqlite3.h libsqlite3-dev" "hdr:sodium.h libsodium-dev"
  "hdr:hwy/highway.h libhwy-dev" "hdr:re2/re2.h libre2-dev" "hdr:zlib.h zlib1g-dev" "hdr:gtest/gtest.h libgtest-dev"
)
missing=()
for probe in "${probes[@]}"; do
  what=${probe%% *} package=${probe##* }
  case $what in
    file:*) [ -e "${what#file:}" ] || missing+=("$package") ;;
    cmd:*) command -v "${what#cmd:}" >/dev/null || missing+=("$package") ;;
    hdr:*) found=
           for dir in /usr/include /usr/local/include ${CPATH:+${CPATH//:/ }}; do [ -e "$dir/${what#hdr:}" ] && found=1; done
           [ -n "$found" ] || missing+=("$package") ;;
  esac
done
if command -v python3 >/dev/null && ! python3 -m pip --version >/dev/null 2>&1; then missing+=(python3-pip); fi
command -v python3 >/dev/null || missing+=(python3-pip)
if [ ${#missing[@]} -gt 0 ]; then
  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=sudo
    else die "these packages are missing: ${missing[*]} (as root: apt-get install ${missing[*]})"; fi
  fi
  command -v apt-get >/dev/null || die "no apt-get here; install the equivalents of: ${missing[*]}"
  say "installing ${missing[*]}"
  $as_root apt-get update -qq >&2 || say "warning: apt-get update failed; trying with the lists that are there"
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get could not install: ${missing[*]}"
fi

# --- Rust: 1.78 is the first cargo that reads the format of bridge/Cargo.lock ------------------------------------------
cargo_is_new_enough() {
  local version
  version=$("$1" --version 2>/dev/null | awk '{print $2}') || return 1
  [ -n "$version" ] && [ "$(printf '%s\n' 1.78 "$version" | sort -V | head -1)" = 1.78 ]
}
if ! cargo_is_new_enough "$HOME/.cargo/bin/cargo" && ! cargo_is_new_enough cargo; then
  say "installing a Rust toolchain with rustup"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path >&2 ||
    die "no cargo 1.78 or newer, and rustup could not install one"
fi

# --- libtorch: TORCH_DIR, then the active Python's torch, then the cache, then the wheel ------------------------------
is_torch() { [ -e "$1/lib/libtorch_cpu.so" ] && [ -e "$1/include/ATen/core/Tensor.h" ]; }

if [ -n "${TORCH_DIR:-}" ]; then
  is_torch "$TORCH_DIR" || die "TORCH_DIR=$TORCH_DIR holds no lib/libtorch_cpu.so and include/ATen"
  if ! grep -qs "${torch_version%.*}" "$TORCH_DIR/version.py" "$TORCH_DIR/build-version"; then
    say "warning: TORCH_DIR is not version ${torch_version%.*}; assay is tested with $torch_version only"
  fi
  echo "$TORCH_DIR"; exit 0
fi
active=$(python3 - "${torch_version%.*}" <<'PY' 2>/dev/null || true
import importlib.util, pathlib, re, sys
spec = importlib.util.find_spec("torch")
if spec and spec.origin:
    folder = pathlib.Path(spec.origin).parent
    version = re.search(r"__version__ = '([^']+)'", (folder / "version.py").read_text()).group(1)
    if version.startswith(sys.argv[1] + "."):
        print(folder)
PY
)
if [ -n "$active" ] && is_torch "$active"; then echo "$active"; exit 0; fi

home="$cache/libtorch-$torch_version-$(uname -m)"
if is_torch "$home/torch"; then echo "$home/torch"; exit 0; fi
mkdir -p "$cache"
exec 9>"$cache/setup.lock"
flock 9
if is_torch "$home/torch"; then echo "$home/torch"; exit 0; fi
say "fetching libtorch $torch_version from the torch wheel (about 0.5 GB, once)"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
platform=manylinux_2_28_$(uname -m)
fetch() {
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --platform "$platform" --platform "manylinux_2_25_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
    --platform "manylinux2014_$(uname -m)" --dest "$work" "$1" >&2 || die "could not fetch $1 with pip"
}
fetch "torch==$torch_version"
[ "$(uname -m)" != x86_64 ] || { fetch "nvidia-cuda-runtime==$cudart_version"; fetch "nvidia-cuda-cupti==$cupti_version"; }
say "unpacking (the CUDA kernels are left out)"
python3 - "$work" <<'PY'
import pathlib, re, sys, zipfile
work = pathlib.Path(sys.argv[1])
keep = re.compile(r"^(torch/include/|torch/version\.py$|torch/lib/lib(torch_cpu|c10|gomp|arm_compute|openblas)[^/]*\.so|"
                  r"torch\.libs/|nvidia/cu13/lib/lib(cudart|cupti)\.so)")
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if keep.match(name) and not name.endswith("/"):
                archive.extract(name, work / "out")
PY
is_torch "$work/out/torch" || die "the torch wheel does not hold what was expected"
rm -rf "$home"
mv "$work/out" "$home"
say "libtorch is in $home"
echo "$home/torch"
