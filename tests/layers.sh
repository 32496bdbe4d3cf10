#!/usr/bin/env bash
# The house's order: a folder includes only headers of its own and of folders before it; only src/cluster sees mpi.h,
# only the shim sees torch, only main.c exits; every header compiles alone; every file begins with what it is for, and
# no folder but solver has more than 15 of them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
order=(base format config job solver sample diagnose shard cluster eval metric tune report run work export cli cmd)
bad=0
complain() { echo "layers: $*"; bad=1; }

for i in "${!order[@]}"; do
    later=$(IFS='|'; echo "${order[*]:i+1}")
    [ -n "$later" ] || continue
    found=$(grep -nE "#include \"($later)/" "src/${order[i]}"/*.[ch]) &&
        complain "src/${order[i]} looks ahead:"$'\n'"$found"
done
found=$(grep -ln 'torch_shim\.h' src/{base,config,job,solver}/*.[ch]) && complain "the shim is seen too early: $found"
found=$(grep -rln '<mpi\.h>' src shim | grep -v '^src/cluster/comm_mpi\.c$') &&
    complain "mpi.h outside comm_mpi.c: $found"
found=$(grep -rnE '\b(exit|abort)\(' src | grep -v '^src/main\.c') && complain "only main.c exits:"$'\n'"$found"
for file in src/*.c src/*/*.[ch] shim/*; do
    [[ $(head -c 2 "$file") == "/*" ]] || complain "$file does not begin with what it is for"
done
for folder in "${order[@]}"; do
    files=(src/"$folder"/*.c)
    [ "$folder" = solver ] || [ "${#files[@]}" -le 15 ] || complain "src/$folder has ${#files[@]} files, more than 15"
done
for header in src/*/*.h shim/*.h; do
    # shellcheck disable=SC2086 # several flags
    ${CC:-cc} ${CPPFLAGS:-} ${CFLAGS:-} -x c -fsyntax-only "$header" || complain "$header does not stand alone"
done
exit $bad
