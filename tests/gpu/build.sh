#!/usr/bin/env bash
# make cuda-build: compiles and links the program against a CUDA libtorch, in build/cuda, and tries it on the CPU: the
# same digits as those of build/torch, and one clear error where a GPU is asked for that is not there.
#   LIBTORCH=DIR   an unpacked CUDA libtorch, or pip's torch; else build/cuda-venv, which DOWNLOAD=1 fills (5 GB)
set -euo pipefail
cd "$(dirname "$0")/../.."
fail() {
    echo "cuda-build: $*" >&2
    exit 64
}
say() {
    echo "cuda-build: $*"
}

if [ -z "${LIBTORCH:-}" ] && [ "${DOWNLOAD:-}" = 1 ]; then
    say 'PyTorch with CUDA by pip into build/cuda-venv, some 5 GB'
    python3 -m venv build/cuda-venv
    build/cuda-venv/bin/pip install -q "torch>=${TORCH:-2.13}" numpy
fi
if [ -z "${LIBTORCH:-}" ]; then
    for found in "$PWD"/build/cuda-venv/lib/python3*/site-packages/torch; do LIBTORCH=$found; done
fi
[ -e "$LIBTORCH/lib/libtorch_cuda.so" ] ||
    fail "no libtorch with CUDA at ${LIBTORCH}: LIBTORCH=DIR names one (lib/libtorch_cuda.so is in it)," \
        "DOWNLOAD=1 brings PyTorch's into build/cuda-venv (5 GB)"

make --no-print-directory SHIM=torch B=build/cuda LIBTORCH="$LIBTORCH" all
version=$(build/cuda/qtaylor --version)
grep -q 'CUDA [0-9]' <<<"$version" || fail "--version names no CUDA: $version"
say "$(grep -E '^ *torch ' <<<"$version")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
digest_of() { # PROGRAM: of some digits, made on the CPU
    "$1" generate jobs/digits/job.yaml --set seeds=0-255 --set device=cpu --set output.dir="$work/run" --json |
        tr ',{' '\n\n' | sed -n 's/.*"payload_sha256": *"\([0-9a-f]*\)".*/\1/p'
    rm -rf "$work/run"
}
ours=$(digest_of build/cuda/qtaylor)
[ -n "$ours" ] || fail 'no digits were made on the CPU'
if [ -x build/torch/qtaylor ]; then
    theirs=$(digest_of build/torch/qtaylor)
    if [ "$ours" = "$theirs" ]; then
        say "256 digits on the CPU: the bits of build/torch ($ours)"
    else
        say "256 digits on the CPU differ in their bits from those of build/torch, another libtorch: $ours, $theirs"
    fi
fi
case $version in
*'no device'*)
    rc=0
    said=$(build/cuda/qtaylor generate jobs/digits/job.yaml --set device=cuda --set output.dir="$work/run" 2>&1) ||
        rc=$?
    [ $rc = 65 ] && grep -q 'sees no GPU' <<<"$said" || fail "device: cuda without a GPU: expected 65, found $rc: $said"
    say 'device: cuda without a GPU is refused, and says so'
    ;;
*) say 'there is a GPU: make gpu-check' ;;
esac
