#!/usr/bin/env bash
# The steps of meta.yaml: conda's compilers and flags stand in the environment, where make finds them.
set -euo pipefail
# conda's OpenBLAS has LAPACKE inside; static, as the Makefile says.
make -j"${CPU_COUNT:-2}" install PREFIX="$PREFIX" LIBTORCH="$PREFIX" MPICC=mpicc PYTHON=python \
    BLAS='-Wl,--exclude-libs,ALL -Wl,-Bstatic -lopenblas -Wl,-Bdynamic -l:libgfortran.so.5'
