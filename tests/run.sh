#!/usr/bin/env bash
# Runs every test and ends with one line "N passed, N failed". With "long": the long ones too. SHIM=fake: without
# libtorch, and without the tests that need it or PyTorch.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
which=${1:-short}
shim=${SHIM:-torch}
# shellcheck source=/dev/null
if [ -f build/env.sh ]; then source build/env.sh; fi # packages unpacked without root
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset PYTHONDONTWRITEBYTECODE # else each process compiles what it imports
passed=0
failed=0
step() { # one test of its own: step NAME COMMAND...
    local name=$1; shift
    echo "== $name"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name: $*"; fi
}

build() { make --no-print-directory -j2 "$@"; }
sanitized=(SHIM=fake 'SANITIZE=address,undefined')
mapfile -t unit_names < <(find tests/unit -name 'test_*.c' -printf '%f\n' | sort)
unit_names=("${unit_names[@]%.c}")

units() { # units VARIANT: every unit test of one build
    local program good bad rc targets=("${unit_names[@]/#/build/$1/tests/}")
    # shellcheck disable=SC2016 # the inner shell expands it
    printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -n 1 sh -c '"$0" >"$0.log" 2>&1; echo $? >"$0.rc"'
    for program in "${targets[@]}"; do
        echo "== $program"
        rc=$(cat "$program.rc")
        good=$(grep -c '^\[       OK \]' "$program.log")
        bad=$(grep '^\[  FAILED  \] [a-zA-Z_]' "$program.log" | sort -u | wc -l) # each is named twice
        if [ "$rc" != 0 ]; then cat "$program.log"; [ "$bad" -gt 0 ] || bad=1; fi
        passed=$((passed + good)); failed=$((failed + bad))
        rm -f "$program.rc"
    done
}

# What needs neither the programs' runs nor a quiet machine: style, sanitizers, fuzzing's corpora (what it found stays
# mended; `make fuzz` looks for more), unit tests. A process of its own: its counts go to a file.
beside_pytest() {
    local name corpora=()
    renice -n 5 $BASHPID >/dev/null
    passed=0
    failed=0
    for name in tests/fuzz/fuzz_*.c; do name=${name#tests/fuzz/fuzz_}; corpora+=("${name%.c}"); done
    step 'layers' make --no-print-directory SHIM=fake layers
    step 'lint' tests/lint.sh
    [ "$shim" = fake ] || step 'ops under libtorch' build/torch/tests/torch_ops
    step 'build of the unit tests' build SHIM=fake build/fake/simulate "${unit_names[@]/#/build/fake/tests/}"
    units fake
    step 'build with sanitizers' build "${sanitized[@]}" all "${unit_names[@]/#/build/fake-address,undefined/tests/}" \
        "${corpora[@]/#/build/fake-address,undefined/fuzz_}"
    for name in "${corpora[@]}"; do
        step "fuzz corpus: $name" "build/fake-address,undefined/fuzz_$name" "tests/fuzz/corpus/$name"
    done
    units fake-address,undefined
    echo "$passed $failed" >build/beside.count
}

marks='not long'
[ "$which" = long ] && marks=''
pytests() { # pytests NAME ARGUMENTS...
    build/venv/bin/python -m pytest -q -rs -W ignore::DeprecationWarning -m "$marks" \
        --junit-xml="build/pytest-$1.xml" "${@:2}"
    local ended=$?
    if [ $ended -gt 1 ] && [ $ended -ne 5 ]; then failed=$((failed + 1)); echo "FAILED: pytest itself: exit $ended"; fi
}

# Reports of an earlier run never count.
rm -f build/pytest-*.xml build/beside.*
[ "$shim" = fake ] || step 'build with libtorch' build SHIM=torch all build/torch/{tests/torch_ops,bare_calls,bare_eval}
step 'build with the fake shim' build SHIM=fake all build/fake/tests/test_archive # the latter is run by a long test
step 'build of the fault shim' build build/tests/fault.so

# pytest's tests wait for most of their time (leases, killed ranks, processes that start), so there are more of its
# processes than processors, and what needs none of them goes on beside at low priority; tests that share a costly start
# or a network are one group, and a group stays in one process (tests/conftest.py). SLURM's cluster comes last, with the
# machine to itself.
beside_pytest >build/beside.log 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null' EXIT # ^C alone does not end what is in the background
processes=$(nproc)
processes=$((processes < 4 ? 2 * processes + 1 : 9))
pytests most -n $processes --dist loadgroup --ignore=tests/slurm tests
wait
trap - EXIT
cat build/beside.log
pytests slurm tests/slurm

count() { # count GOOD BAD: a part that did not say has failed
    passed=$((passed + ${1:-0})); failed=$((failed + ${2:-1}))
}
# shellcheck disable=SC2046 # two numbers
count $(cat build/beside.count)
# shellcheck disable=SC2046
count $(build/venv/bin/python - <<'PYTHON'
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
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
