# qtaylor: `make help` says what there is. Objects go to build/.
-include build/config.mk # written by tools/setup.sh where it unpacked packages: MPICC, PKG_CONFIG, ...

SHIM     ?= torch
SANITIZE ?=
COMM     ?= mpi
CC       ?= cc
CXX      ?= g++
MPICC    ?= mpicc
PYTHON   ?= build/venv/bin/python
PREFIX   ?= /usr/local
DESTDIR  ?=

# One folder a variant: build/torch, build/fake, build/fake-address,undefined. What is compiled from C is the same under
# both shims, and made once: build/library, build/library-address,undefined.
VARIANT := $(if $(filter self,$(COMM)),-self)$(if $(SANITIZE),-$(SANITIZE))
B := build/$(SHIM)$(VARIANT)
L := build/library$(VARIANT)

PACKAGES   := libzstd jansson libfyaml libcrypto libzip spng libdeflate libjpeg libwebp nlopt
PKG_CONFIG ?= pkg-config
WARNINGS   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS     ?= -O2 -g
override CFLAGS += -std=gnu11 -D_GNU_SOURCE -fopenmp -ffp-contract=off -fno-math-errno $(WARNINGS)
SAN        := $(if $(filter coverage,$(SANITIZE)),--coverage,\
              $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined))
USE_MPI    := $(filter mpi,$(COMM))
# Open MPI's word for the flags, or MPICH's, which prints the compiler before them.
MPI_FLAGS   = $(if $(USE_MPI),$(shell { $(MPICC) $(1) 2>/dev/null || { $(MPICC) $(2) | cut -d' ' -f2-; }; }))
# Asked for once, and only where something is compiled.
COMPILE_FLAGS = $(eval COMPILE_FLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) openblas) \
                  $(call MPI_FLAGS,--showme:compile,-compile_info))$(COMPILE_FLAGS)
CPPFLAGS   += -Isrc -Ishim -I$(L) $(COMPILE_FLAGS)
# libtorch has a BLAS of its own (MKL) under the same names. A shared OpenBLAS would answer torch's calls too, with
# other bits, and threads that fight the workers; so ours is linked statically, and its names stay inside.
BLAS       ?= -Wl,--exclude-libs,ALL -Wl,-Bstatic -llapacke $(shell $(PKG_CONFIG) --libs openblas) -Wl,-Bdynamic \
              -l:libgfortran.so.5
LDLIBS     += $(BLAS) $(shell $(PKG_CONFIG) --libs $(PACKAGES)) $(call MPI_FLAGS,--showme:link,-link_info) -lm

SOURCES := $(filter-out src/main.c src/cluster/comm_$(if $(USE_MPI),self,mpi).c,$(wildcard src/*/*.c))
PAGE    := page.css page.js chart.css
OBJECTS := $(SOURCES:%.c=$(L)/%.o) $(L)/gen/page_files.o
FAKE    := $(patsubst %.c,$(L)/%.o,$(wildcard shim/fake_*.c))
UNIT    := $(patsubst %.c,$(B)/tests/%,$(notdir $(wildcard tests/unit/*/test_*.c))) # in folders as src has them

ifeq ($(SHIM),torch)
LIBTORCH   ?= $(lastword $(wildcard $(CURDIR)/build/venv/lib/python3*/site-packages/torch))
TORCH_HAS   = $(wildcard $(LIBTORCH)/lib/lib$(1).so)
SHIM_OBJECTS := $(patsubst %.cpp,$(B)/%.o,$(wildcard shim/torch_*.cpp))
SHIM_LIBS  := -L$(LIBTORCH)/lib -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10 \
              $(if $(call TORCH_HAS,torch_cuda),-ltorch_cuda -lc10_cuda) -Wl,--as-needed \
              -Wl,-rpath,$(LIBTORCH)/lib -Wl,--disable-new-dtags -lstdc++
TORCH_FLAGS := $(B)/libtorch.flags
else
SHIM_OBJECTS := $(FAKE)
endif

VERSION := $(shell cut -d' ' -f1 VERSION)
# A tarball of `make dist` has its commit in a file; unpacked inside another repository it must not take that one's.
COMMIT := if [ -e COMMIT ]; then cat COMMIT; else test -e .git && git describe --always --dirty --abbrev=12; fi

$(if $(findstring ',$(PREFIX)$(DESTDIR)$(LIBTORCH)),$(error PREFIX, DESTDIR and LIBTORCH: expected none of '))

# V=1 shows whole commands.
Q := $(if $(V),,@)

.DELETE_ON_ERROR:
.PHONY: all help demo run-demo test test-long test-mpi bench cuda-build gpu-check unit layers fuzz run-fuzz tsan \
        run-tsan coverage run-coverage format lint install uninstall dist clean distclean FORCE
all: $(B)/qtaylor ## build build/torch/qtaylor (other builds: below)

help: ## this list
	@awk -F ':.*## ' '/^[a-z_.-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' Makefile
	@echo "  Other builds: SHIM=fake (closed-form models, no libtorch), COMM=self (no MPI), SANITIZE=address,undefined"
	@echo "  By hand: LIBTORCH=DIR (an unpacked libtorch), MPICC=, CC=, CXX=, PKG_CONFIG_PATH=, BLAS=, RANKS=2 (demo's)"

RANKS ?= 2
# Open MPI refuses root unless told; more ranks than cores are fine for a demonstration.
MPI_ENV := $(if $(filter 0,$(shell id -u)),OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
demo: ## install what is missing, build, and run the default job on 2 ranks
	@SHIM=torch LIBTORCH=$(LIBTORCH) tools/setup.sh build
	@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$$(nproc)) \
	    SHIM=torch run-demo # a new make, which sees what set-up wrote
run-demo: all
	$(MPI_ENV) mpirun -n $(RANKS) --oversubscribe --bind-to none build/torch/qtaylor run jobs/digits/job.yaml

test: ## install what tests need, build, and run them all, 15 minutes on 2 cores (SHIM=fake: those without libtorch)
	@tools/setup.sh test
	@tests/run.sh
test-long: ## what needs longer: hundreds of kill points, slow parity runs
	@tools/setup.sh long
	@tests/run.sh long
# Rank tests by the MPI that MPICC compiles for, in a folder of its own: objects of two MPIs do not go together.
MPI_BUILD := build/fake-$(notdir $(MPICC))
test-mpi: ## the tests of ranks with another MPI: MPICC=mpicc.mpich QTAYLOR_MPIRUN=mpiexec.mpich
	@$(MAKE) --no-print-directory SHIM=fake B=$(MPI_BUILD) L=$(MPI_BUILD) all
	@QTAYLOR_FAKE=$(MPI_BUILD)/qtaylor $(PYTHON) -m pytest -q -rs -m 'not long' tests/mpi
bench: ## speed, as ratios within one run
	@tools/setup.sh test
	@$(MAKE) --no-print-directory SHIM=torch all
	@if [ -f build/env.sh ]; then . build/env.sh; fi; $(PYTHON) tools/bench.py

# A CUDA build of its own, in build/cuda. The scripts say what is missing.
given = $(if $(filter command environment,$(firstword $(origin $(1)))),$($(1)))
cuda-build: ## build/cuda/qtaylor against a CUDA libtorch (LIBTORCH=DIR, or DOWNLOAD=1: pip's, 5 GB), tried on the CPU
	@LIBTORCH='$(call given,LIBTORCH)' DOWNLOAD='$(DOWNLOAD)' tests/gpu/build.sh
gpu-check: ## a page about this program on this machine's GPU: what it computes there, and how fast
	@$(PYTHON) tests/gpu/check.py

# Over packages that were unpacked without root (build/env.sh) the program is a script that starts unpacked/qtaylor.
UNPACKED := $(if $(wildcard build/env.sh),unpacked/)
# The shim first: libtorch's headers take as long to compile as everything else.
$(B)/qtaylor: $(SHIM_OBJECTS) $(L)/src/main.o $(L)/libqtaylor.a
	@mkdir -p $(@D)/$(UNPACKED)
	@echo "  link $@"
	$(Q)$(CC) $(CFLAGS) $(SAN) $(LDFLAGS) -o $(@D)/$(UNPACKED)qtaylor $(L)/src/main.o $(SHIM_OBJECTS) \
	    $(L)/libqtaylor.a $(LDLIBS) $(SHIM_LIBS)
	$(if $(UNPACKED),@tools/install.sh starter ../env.sh unpacked/qtaylor >$@ && chmod +x $@,@rm -rf $(@D)/unpacked)

$(L)/libqtaylor.a: $(OBJECTS)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(L)/%.o: %.c $(L)/flags
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(SAN) -MMD -MP -c -o $@ $<

# Other flags, or another compiler, make all objects anew.
$(L)/flags: FORCE
	@$(PKG_CONFIG) --exists --print-errors $(PACKAGES) openblas || { \
	    echo "packages are missing: \`tools/setup.sh build\` brings Debian's (without root, too), and docs/cluster.md" \
	        "says what is needed elsewhere" >&2; exit 64; }
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(CFLAGS) $(SAN)' >$@.$(SHIM)
	@cmp -s $@.$(SHIM) $@ && rm $@.$(SHIM) || mv $@.$(SHIM) $@

# What the build knows about itself; rewritten only when it changes.
$(L)/src/cluster/build.o: $(L)/version.h
# A report's own files as strings, page_css[] of page.css: bytes, as a string literal has a limit and escapes.
$(L)/gen/page_files.c: $(PAGE:%=src/report/%)
	@mkdir -p $(@D)
	@echo "  make    $@"
	@{ echo '#include "report/markup.h"'; for file in $^; do name=$${file##*/}; \
	    echo "const char $${name%.*}_$${name##*.}[] = {"; \
	    od -An -v -tx1 $$file | sed "s/[0-9a-f][0-9a-f]/'\\\\x&',/g"; echo '0};'; done; } >$@
$(L)/gen/page_files.o: $(L)/gen/page_files.c
	@echo "  compile $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(SAN) -MMD -MP -c -o $@ $<
$(L)/version.h: FORCE
	@mkdir -p $(@D)
	@printf '#define QTAYLOR_%s "%s"\n' VERSION '$(VERSION)' DATE "$$(cut -d' ' -f2 VERSION)" COMMIT \
	    "$$($(COMMIT) 2>/dev/null || echo unknown)" CFLAGS '$(CFLAGS) $(SAN)' >$@.$(SHIM)
	@cmp -s $@.$(SHIM) $@ && rm $@.$(SHIM) || mv $@.$(SHIM) $@

# Everything over libtorch is made anew when it is another one. The newer kind of path in a program (DT_RUNPATH) would
# let LD_LIBRARY_PATH go before it, and bring in a libtorch that it was not compiled against.
$(B)/libtorch.flags: FORCE
	@mkdir -p $(@D)
	@tools/libtorch.sh '$(LIBTORCH)' >$@.new || { rm -f $@.new; exit 64; }
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/shim/%.o: shim/%.cpp $(TORCH_FLAGS)
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) @$(TORCH_FLAGS) -O2 -g1 -Wall -Wextra -Werror -Ishim -MMD -MP -c -o $@ $<

# A unit test is one program over the library and the fake shim.
unit: $(UNIT) ## the unit tests alone
	@for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done
vpath test_%.c $(wildcard tests/unit/*)
tests/unit/%.c: ; # a test that was moved: what an older build wrote down of it
$(B)/tests/%: %.c $(L)/libqtaylor.a $(FAKE)
	@mkdir -p $(@D)
	@echo "  test    $<"
	$(Q)$(CC) -Itests/unit $(CPPFLAGS) $(CFLAGS) $(SAN) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(FAKE) \
	    $(L)/libqtaylor.a -lcmocka $(LDLIBS)

# The same over libtorch: SHIM=torch.
$(B)/tests/torch_ops: tests/torch/ops.c $(L)/libqtaylor.a $(SHIM_OBJECTS)
	@mkdir -p $(@D)
	@echo "  test    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(SAN) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(SHIM_OBJECTS) $(L)/libqtaylor.a \
	    -lcmocka $(LDLIBS) $(SHIM_LIBS)

# What tests/faults preloads: see there.
build/tests/fault.so: tests/faults/fault.c
	@mkdir -p $(@D)
	@echo "  link $@"
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O1 -g -fPIC -fno-builtin -shared $(WARNINGS) -Wno-missing-prototypes -o $@ $<

# A fuzz target: under `make fuzz` libFuzzer's main, else one that replays files (tests/fuzz/fuzz.h).
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MAIN := $(L)/tests/fuzz/fuzz.o $(if $(findstring fuzzer,$(SANITIZE)),,$(L)/tests/fuzz/replay.o)
$(B)/fuzz_%: $(L)/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(L)/libqtaylor.a $(FAKE)
	@mkdir -p $(@D)
	@echo "  link $@"
	$(Q)$(CC) $(CFLAGS) $(SAN) $(LDFLAGS) -o $@ $< $(FUZZ_MAIN) $(FAKE) $(L)/libqtaylor.a $(LDLIBS)
FUZZ_SECONDS ?= 600
.SECONDARY: $(FUZZ:$(B)/%=$(L)/tests/fuzz/%.o) $(FUZZ_MAIN)
fuzz: ## every target in tests/fuzz under libFuzzer, FUZZ_SECONDS=600 each
	@tools/setup.sh fuzz
	@$(MAKE) --no-print-directory SHIM=fake COMM=self CC=clang SANITIZE=fuzzer,address,undefined \
	    BLAS='-llapacke -lopenblas' run-fuzz # hidden names would hide clang's own malloc from libc
run-fuzz: $(FUZZ)
	@for target in $(FUZZ); do name=$${target##*/fuzz_}; mkdir -p build/fuzz/$$name; echo "== fuzz_$$name"; \
	    $$target -max_total_time=$(FUZZ_SECONDS) -malloc_limit_mb=256 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
	        -verbosity=0 -artifact_prefix=build/fuzz/$$name- build/fuzz/$$name tests/fuzz/corpus/$$name || exit 1; done

# Of every C file (and the libtorch shim), for editors and clang-tidy.
COMPILED := $(SOURCES) src/main.c $(wildcard shim/fake_*.c tests/unit/*/test_*.c tests/fuzz/*.c tools/*.c)
compile_commands.json: $(L)/version.h FORCE ## how each file is compiled, for editors
	@{ printf '['; for file in $(COMPILED); do printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' \
	    "$$comma" '$(CURDIR)' $$file "$(CC) $(CPPFLAGS) $(CFLAGS) -c $$file"; comma=,; done; echo ']'; } >$@

# What each thread does to what the others see. gcc's libgomp tells ThreadSanitizer nothing of its barriers; clang's
# libomp does, through archer, so nothing is suppressed. The runs of tests/cli are the coordinator with 2 and more
# workers.
TSAN_UNITS := queue execute coordinator log hash precision score
TSAN_RUNS  := tests/cli/test_sweep.py tests/cli/test_unstable.py tests/cli/test_shard_format.py
TSAN_ENV   := OMP_TOOL_LIBRARIES=libarcher.so TSAN_OPTIONS=ignore_noninstrumented_modules=1 \
              LD_LIBRARY_PATH=$$(dirname "$$(clang -print-file-name=libarcher.so)"):$$LD_LIBRARY_PATH
tsan: ## the threads' unit tests, and runs of small jobs, under ThreadSanitizer
	@tools/setup.sh fuzz
	@$(MAKE) --no-print-directory SHIM=fake COMM=self CC=clang SANITIZE=thread BLAS='-llapacke -lopenblas' \
	    WARNINGS=-w run-tsan
run-tsan: all $(TSAN_UNITS:%=$(B)/tests/test_%)
	@for t in $(TSAN_UNITS); do echo "== $$t"; $(TSAN_ENV) $(B)/tests/test_$$t || exit 1; done
	@if [ -x $(PYTHON) ]; then $(TSAN_ENV) QTAYLOR_FAKE=$(B)/qtaylor $(PYTHON) -m pytest -q -m 'not long' \
	    -k 'not ranks' $(TSAN_RUNS); fi

COVERED := tests/faults/test_claims.py tests/mpi/test_poison.py tests/parity/test_grids.py tests/parity/test_guidance.py
coverage: ## how many lines of src unit tests, tests/cli and a few more reach (fake shim)
	@tools/setup.sh coverage
	@$(MAKE) --no-print-directory SHIM=torch all build/tests/fault.so # which some of tests/cli run, too
	@$(MAKE) --no-print-directory SHIM=fake SANITIZE=coverage CFLAGS='-O1 -g' WARNINGS=-w run-coverage
run-coverage: all $(UNIT)
	@find $(L) -name '*.gcda' -delete
	@printf '%s\n' $(UNIT) | xargs -P "$$(nproc)" -I{} sh -c '{} >{}.log 2>&1 || echo "FAILED: {}"'
	@$(MPI_ENV) QTAYLOR_FAKE=$(B)/qtaylor $(PYTHON) -m pytest -q -m 'not long' -n 4 --dist loadgroup \
	    tests/cli $(COVERED) | tail -1
	@$(PYTHON) -m gcovr --root . --filter src/ --object-directory $(L) --gcov-ignore-parse-errors all $(L) 2>/dev/null | \
	    awk '$$1 == "TOTAL" || ($$1 ~ /^src/ && $$4 + 0 < 80)'

format: ## clang-format over every C file, in place
	@tools/setup.sh lint
	@git ls-files '*.c' '*.h' '*.cpp' '*.hpp' | xargs build/venv/bin/clang-format -i
lint: $(L)/version.h ## what gcc's analyzer, clang-format, shellcheck, ruff and tests/house.sh find
	@tools/setup.sh lint
	@CPPFLAGS='$(CPPFLAGS)' tests/lint.sh analyze

layers: ## check that each header stands alone and that folders include only what is before them
	@CPPFLAGS='$(CPPFLAGS)' CFLAGS='$(CFLAGS)' CC='$(CC)' tests/layers.sh

# The benchmark's limits: model calls through the shim and nothing else, and the metrics one by one.
$(B)/bare_%: $(L)/tools/bare_%.o $(L)/libqtaylor.a $(SHIM_OBJECTS)
	@mkdir -p $(@D)
	@echo "  link $@"
	$(Q)$(CC) $(CFLAGS) $(SAN) $(LDFLAGS) -o $@ $< $(SHIM_OBJECTS) $(L)/libqtaylor.a $(LDLIBS) $(SHIM_LIBS)

# The coordinator's dispatch under a virtual clock (make bench).
$(B)/simulate: $(L)/tools/simulate.o $(L)/libqtaylor.a $(FAKE)
	@mkdir -p $(@D)
	@echo "  link $@"
	$(Q)$(CC) $(CFLAGS) $(SAN) $(LDFLAGS) -o $@ $< $(FAKE) $(L)/libqtaylor.a $(LDLIBS)

install: all ## put program, pages, slurm/, jobs/, tools under PREFIX=/usr/local (DESTDIR=: staged)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' tools/install.sh install $(B)/qtaylor
	@$(if $(filter torch,$(SHIM)),echo "the program takes libtorch from $(LIBTORCH)/lib: keep that folder.")
	@$(if $(UNPACKED),echo "and libraries from $(CURDIR)/build/deps: keep that folder. For its mpirun: source" \
	    "$(PREFIX)/share/qtaylor/env.sh")
uninstall: ## remove what make install put there (the same PREFIX= and DESTDIR=)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' tools/install.sh uninstall
# `git stash create` is the working tree as a commit of no branch, or nothing where it is as committed.
DIST := build/qtaylor-$(VERSION).tar.gz
dist: ## make build/qtaylor-VERSION.tar.gz, which builds without git
	@mkdir -p $(dir $(DIST)) && rm -f $(dir $(DIST))qtaylor-*.tar.gz # recipes take the one that is there
	@$(COMMIT) >$(dir $(DIST))COMMIT
	@tree=$$(git -c user.name=dist -c user.email=dist@localhost stash create) && git archive \
	    --prefix=qtaylor-$(VERSION)/ --add-file=$(dir $(DIST))COMMIT --output=$(DIST) "$${tree:-HEAD}"
	@echo "$(DIST): $$(cat $(dir $(DIST))COMMIT)"

clean: ## remove objects and programs (packages and the virtual environment stay)
	rm -rf build/torch* build/fake* build/library*
distclean: ## remove build/ altogether
	rm -rf build

-include $(shell find $(B) $(L) -name '*.d' 2>/dev/null)
