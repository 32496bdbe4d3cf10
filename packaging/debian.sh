#!/usr/bin/env bash
# Installs what qtaylor needs on Debian 12 and 13 and builds it: the steps of Dockerfile and of qtaylor.def.
#   packaging/debian.sh            packages, libtorch in build/venv, and build/torch/qtaylor
#   packaging/debian.sh PREFIX     and `make install PREFIX=PREFIX`; the program goes on using build/venv: keep it
# Environment: LIBTORCH=DIR, an unpacked libtorch instead of pip's; SHIM=fake, no libtorch (closed-form models).
# Root installs packages; anybody else has them unpacked into build/deps, and needs make, gcc, g++ and python3 there.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${1:-}
export SHIM=${SHIM:-torch}

fail() { printf 'debian.sh: %s\n' "$*" >&2; exit 1; }
[ -e /etc/debian_version ] || fail 'this is no Debian: see "On a cluster" in docs/cluster.md'
[[ -z $prefix || $prefix = /* ]] || fail "PREFIX: expected an absolute path, found $prefix"
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make ca-certificates
else
    for program in make gcc g++ python3; do
        command -v $program >/dev/null || fail "no $program here, and you are not root: ask for it"
    done
fi
tools/setup.sh build
# A new make, which sees what set-up wrote.
make --no-print-directory -j"$(nproc)" all
if [ -n "$prefix" ]; then make --no-print-directory install PREFIX="$prefix"; fi
"build/$SHIM/qtaylor" --version
