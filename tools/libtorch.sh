#!/usr/bin/env bash
# How a program is compiled against a libtorch, as it says itself: include folders, C++ standard and ABI, on one line.
#   tools/libtorch.sh DIR        DIR/include and DIR/lib: pip's torch, or an unpacked libtorch
set -euo pipefail
oldest=2.6 # that the shim compiles with
dir=${1:-}

fail() {
    # shellcheck disable=SC2016 # words for a reader
    printf 'libtorch: %s; `make demo` brings one into build/venv, LIBTORCH=DIR names another (%s or later), %s\n' "$*" \
        "$oldest" 'SHIM=fake builds without' >&2
    exit 64
}
[ -n "$dir" ] || fail 'there is none'
[[ $dir = /* && $dir != *[[:space:]]* ]] || fail "LIBTORCH=$dir: expected one absolute path without blanks"
for part in include/ATen/ATen.h include/torch/csrc/jit/api/module.h lib/libtorch_cpu.so; do
    [ -e "$dir/$part" ] || fail "LIBTORCH=$dir has no $part"
done

# The numbers moved from the second header to the first in 2.9.
headers=("$dir"/include/torch/{headeronly,csrc/api/include/torch}/version.h)
numbers=$(cat "${headers[@]}" 2>/dev/null | awk '$1 == "#define" && /TORCH_VERSION_(MAJOR|MINOR) / {print $3}' || true)
version=${numbers/$'\n'/.}
[[ $version =~ ^[0-9]+\.[0-9]+$ ]] || fail "LIBTORCH=$dir has no version in its version.h"
# So that another one in the same place is told.
built=$({ cat "${headers[@]}" "$dir/build-hash" 2>/dev/null || true; } | cksum | cut -d' ' -f1)
[ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] || fail "LIBTORCH=$dir is $version"

config=$dir/share/cmake/Torch/TorchConfig.cmake
standard=$(sed -n 's/^ *CXX_STANDARD \([0-9]*\).*/\1/p' "$config" 2>/dev/null || true)
abi=$(grep -o -- '-D_GLIBCXX_USE_CXX11_ABI=[01]' "$config" 2>/dev/null | head -n 1 || true)
# CUDA graphs (shim/torch_graphs.cpp) alone need CUDA's own headers, which pip's torch brings but in part.
graphs=
if [ -e "$dir/lib/libtorch_cuda.so" ]; then
    for include in "$dir"/../nvidia/{cu[0-9]*,cuda_runtime}/include "${CUDA_HOME:-/usr/local/cuda}/include"; do
        [ -z "$graphs" ] && [ -e "$include/cuda_runtime.h" ] && [ -e "$include/crt/host_config.h" ] &&
            graphs=" -DCUDA_GRAPHS -isystem $include"
    done
fi
echo "-std=c++${standard:-20} $abi -DLIBTORCH_BUILT=$built -isystem $dir/include" \
    "-isystem $dir/include/torch/csrc/api/include$graphs"
