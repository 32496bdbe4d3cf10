#!/usr/bin/env bash
# clang-format, shellcheck and ruff, which have to be silent, and what house.sh finds. With "analyze" (make lint) first
# gcc's analyzer over src, told that errors are -1 (lint.h); its findings want a reader. CPPFLAGS comes from make.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
# shellcheck source=/dev/null
if [ -f build/env.sh ]; then source build/env.sh; fi # packages unpacked without root

if [ "${1:-}" = analyze ]; then
    # Leaks it sees wherever memory is kept in a structure: hundreds of false ones; the sanitizers see real ones.
    export ANALYZE="gcc ${CPPFLAGS:-} -std=gnu11 -D_GNU_SOURCE -fopenmp -O1 -include tests/lint.h -fanalyzer
        -Wno-analyzer-malloc-leak -fdiagnostics-plain-output -fanalyzer-verbosity=0 -c -o /dev/null"
    echo '== gcc -fanalyzer'
    # shellcheck disable=SC2016 # the inner shell expands it
    find src -name '*.c' ! -path src/base/error.c -print0 | sort -z |
        xargs -0 -P "$(nproc)" -n 1 sh -c '$ANALYZE "$0"' 2>&1 | grep 'warning:\|error:' | sort -u
fi

failed=0
echo '== clang-format'
git ls-files '*.c' '*.h' '*.cpp' '*.hpp' | xargs build/venv/bin/clang-format --dry-run -Werror || failed=1
echo '== shellcheck'
shellcheck slurm/* tests/*.sh tests/slurm/*.sh tools/*.sh packaging/*.sh packaging/conda/*.sh || failed=1
echo '== ruff'
build/venv/bin/ruff check -q --output-format concise tools tests packaging || failed=1
echo '== house'
tests/house.sh strict || failed=1
exit $failed
