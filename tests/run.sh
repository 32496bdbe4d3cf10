#!/usr/bin/env bash
# Runs every test and ends with one line "N passed, N failed". With "long": the long ones too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
which=${1:-short}
# shellcheck source=/dev/null
if [ -f build/env.sh ]; then source build/env.sh; fi # packages unpacked without root
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
passed=0
failed=0
step() { # one test of its own: step NAME COMMAND...
    local name=$1; shift
    echo "== $name"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name: $*"; fi
}

build() { make --no-print-directory -j2 "$@"; }
step 'build with libtorch' build SHIM=torch all
step 'build with the fake shim' build SHIM=fake all
step 'layers' make --no-print-directory SHIM=fake layers
step 'shellcheck' shellcheck slurm/* tests/*.sh tests/slurm/*.sh tools/*.sh
step 'build with sanitizers' build SHIM=fake SANITIZE=address,undefined all

step 'build of the fault shim' build build/tests/fault.so
for target in tests/fuzz/fuzz_*.c; do # what fuzzing found stays mended; `make fuzz` looks for more
    name=$(basename "$target" .c); name=${name#fuzz_}
    replay="build/fake-address,undefined/fuzz_$name"
    build SHIM=fake SANITIZE=address,undefined "$replay"
    step "fuzz corpus: $name" "$replay" "tests/fuzz/corpus/$name"
done

units() { # units VARIANT MAKE-ARGUMENTS...: every unit test of one build
    local program names
    names=$(find tests/unit -name 'test_*.c' -printf '%f\n' | sort)
    local targets=()
    for name in $names; do targets+=("build/$1/tests/${name%.c}"); done
    build "${@:2}" "${targets[@]}" || { failed=$((failed + 1)); echo "FAILED: unit tests do not build: $1"; return; }
    # shellcheck disable=SC2016 # the inner shell expands it
    printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -n 1 sh -c '"$0" >"$0.log" 2>&1; echo $? >"$0.rc"'
    for program in "${targets[@]}"; do
        echo "== $program"
        local good bad rc
        rc=$(cat "$program.rc")
        good=$(grep -c '^\[       OK \]' "$program.log")
        bad=$(grep '^\[  FAILED  \] [a-zA-Z_]' "$program.log" | sort -u | wc -l) # each is named twice
        if [ "$rc" != 0 ]; then cat "$program.log"; [ "$bad" -gt 0 ] || bad=1; fi
        passed=$((passed + good)); failed=$((failed + bad))
        rm -f "$program.rc"
    done
}
units fake SHIM=fake
units fake-address,undefined SHIM=fake SANITIZE=address,undefined

marks='not long'
[ "$which" = long ] && marks=''
# Half of the tests wait (leases, killed ranks), so there is one process more than processors; tests that share a costly
# start or a network are one group, and a group stays in one process (tests/conftest.py). SLURM's cluster comes behind
# them, with the machine to itself. A report of an earlier run never counts.
rm -f build/pytest-*.xml
processes=$(nproc)
processes=$((processes < 8 ? processes + 1 : 8))
pytests() { # pytests NAME ARGUMENTS...
    build/venv/bin/python -m pytest -q -rs -W ignore::DeprecationWarning -m "$marks" \
        --junit-xml="build/pytest-$1.xml" "${@:2}"
    local ended=$?
    if [ $ended -gt 1 ] && [ $ended -ne 5 ]; then failed=$((failed + 1)); echo "FAILED: pytest itself: exit $ended"; fi
}
pytests most -n $processes --dist loadgroup --ignore=tests/slurm tests
pytests slurm tests/slurm
read -r good bad < <(build/venv/bin/python - <<'PYTHON'
import xml.etree.ElementTree as tree
suites = [suite for name in ("most", "slurm")
          for suite in tree.parse(f"build/pytest-{name}.xml").getroot().iter("testsuite")]
total = bad = 0
for suite in suites:
    bad += int(suite.get("failures")) + int(suite.get("errors"))
    total += int(suite.get("tests")) - int(suite.get("skipped"))
print(total - bad, bad)
PYTHON
)
passed=$((passed + ${good:-0}))
failed=$((failed + ${bad:-1}))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
