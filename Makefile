# polar.c - `make` builds ./train; `make help` lists the other targets.
#
# CPU operations (CPU_OPS) are compiled once per element type and instruction set; the instance is selected at run time.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
OPT   ?= -O3
WERROR ?= yes
# Of the compiler, not of the machine that it runs on: cross compilers build for another one.
TARGET := $(shell $(CC) -dumpmachine)
ifeq ($(origin AR),default)
AR := $(shell $(CC) -print-prog-name=ar)
endif
WARN  := -Wall -Wextra $(if $(filter yes,$(WERROR)),-Werror) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
BASE  := -std=c11 -D_GNU_SOURCE -I. -g $(WARN) -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=off
LIBS  := -ldl -lm -lpthread

comma := ,

# `make V=1` prints the commands.
Q := $(if $(V),,@)

# CUDA=yes compiles the CUDA code with nvcc for the architectures CUDA_ARCHS; the default if nvcc and the headers that the
# backend needs are found. The CUDA runtime is linked; the other libraries are loaded at run time.
ifndef NVCC
NVCC := $(firstword $(and $(CUDA_HOME),$(wildcard $(CUDA_HOME)/bin/nvcc)) $(shell command -v nvcc) \
          $(wildcard /usr/local/cuda/bin/nvcc))
endif
ifndef CUDA_HOME
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v $(NVCC))))
endif
CUDA_INCLUDES ?= $(wildcard $(CUDA_HOME)/include $(CUDA_HOME)/targets/*/include)
CUDA_ARCHS    ?= 80 90a
ifndef CUDA
CUDA_NEEDS := cuda_runtime_api.h cublasLt.h cusolverDn.h
CUDA := $(if $(NVCC),$(shell $(CC) -x c -E $(CUDA_INCLUDES:%=-isystem %) $(CUDA_NEEDS:%=-include %) -o /dev/null \
          /dev/null 2>/dev/null && echo yes || echo no),no)
$(if $(and $(NVCC),$(filter no,$(CUDA))),$(info make: building without CUDA: found $(NVCC), but not all of $(CUDA_NEEDS); set CUDA_INCLUDES=DIR))
endif

FOLDERS := base data device model optim dist run
CPU_OPS_bf16 := $(wildcard model/cpu/*.c optim/cpu/*.c)
CPU_OPS_f32  := device/cpu/gemm_kernel.c device/cpu/peak_kernel.c $(CPU_OPS_bf16) $(wildcard run/problems/cpu/*.c)
CPU_OPS_f64  := $(CPU_OPS_f32)
CPU_OPS := $(CPU_OPS_f32)
SOURCES := $(filter-out $(CPU_OPS),$(sort $(shell find $(FOLDERS) -name '*.c')))
ALL_KERNELS := $(sort $(shell find $(FOLDERS) -name '*.cu'))
ifeq ($(CUDA),no)
SOURCES := $(foreach s,$(SOURCES),$(if $(findstring /cuda/,$s),,$s))
endif
ifeq ($(CUDA),yes)
KERNELS := $(ALL_KERNELS)
BASE    += -DPOLAR_CUDA $(CUDA_INCLUDES:%=-isystem %)
CUDA_LIBRARY := $(firstword $(wildcard $(foreach d,lib64 lib targets/*/lib,$(CUDA_HOME)/$d/libcudart_static.a)))
LIBS    += $(or $(CUDA_LIBRARY),$(wildcard $(CUDA_HOME)/lib64:%=-L%) -lcudart) -lrt
GENCODE := $(foreach a,$(CUDA_ARCHS),-gencode=arch=compute_$a,code=sm_$a) \
           $(foreach a,$(filter 80,$(CUDA_ARCHS)),-gencode=arch=compute_$a,code=compute_$a)
# Without exceptions and thread-safe statics the launchers need no C++ runtime library.
NVFLAGS := -std=c++17 -O3 -lineinfo -I. -DPOLAR_CUDA --expt-relaxed-constexpr $(if $(filter yes,$(WERROR)),-Werror all-warnings) -Xptxas -v \
           -Xcompiler -fno-exceptions,-fno-threadsafe-statics $(GENCODE)
endif
TESTS   := $(patsubst tests/%.c,%,$(sort $(shell find tests/unit -name 'test_*.c')))
FUZZERS := $(filter-out replay memory_files,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))

ifneq ($(filter x86_64-%,$(TARGET)),)
ISAS := base avx2 avx512
ISA_FLAGS_avx2   := -march=x86-64-v3 -ffp-contract=fast
ISA_FLAGS_avx512 := -march=x86-64-v4 -mprefer-vector-width=512 -ffp-contract=fast
# These are called after CPUID has been asked (device/cpu/isa.c).
$(BUILD)/device/cpu/gemm_bf16_pack.o $(BUILD)/device/cpu/gemm_bf16_fma.o: BASE += -march=x86-64-v4
$(BUILD)/device/cpu/gemm_bf16_dot.o: BASE += -march=x86-64-v4 -mavx512bf16
$(BUILD)/device/cpu/gemm_bf16_amx.o: BASE += -march=x86-64-v4 -mamx-tile -mamx-bf16
else
ISAS := base
ifneq ($(filter aarch64-%,$(TARGET)),)
ISA_FLAGS_base := -ffp-contract=fast
# Called after the kernel has been asked (device/cpu/isa.c).
$(BUILD)/device/cpu/gemm_bf16_neon.o: BASE += -march=armv8.2-a+bf16
endif
endif

# The slowest files come first, to keep all processors busy until the end.
OBJECTS := $(KERNELS:%.cu=$(BUILD)/%.cu.o) $(SOURCES:%.c=$(BUILD)/%.o) \
           $(foreach t,f32 f64 bf16,$(foreach i,$(ISAS),$(CPU_OPS_$t:%.c=$(BUILD)/%.$t.$i.o)))
LIBRARY := $(BUILD)/libpolar.a

# The default build writes ./train; other builds (asan) keep the binary in their own folder.
TRAIN := $(if $(filter build,$(BUILD)),train,$(BUILD)/train)

.PHONY: all test aarch64 current bench asan fuzz kill leaks tsan soak same-bits lint clean help format FORCE
.SECONDARY:
all: $(TRAIN) ## build ./train (the default)

include tests/emulator/emulator.mk

# The modules shared by the Python tests.
export PYTHONPATH := $(abspath tests/fixtures):$(abspath tests/bench)$(if $(PYTHONPATH),:$(PYTHONPATH))

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo "Settings: CC, OPT (-O3), CFLAGS, LDFLAGS, BUILD (folder), V=1 (show the commands), WERROR=no"
	@echo "          CUDA=yes|no (here: $(CUDA)), NVCC, CUDA_HOME, CUDA_INCLUDES, CUDA_ARCHS (80 90a)"

# Linked to a temporary name and renamed: tests may be running the previous binary.
$(TRAIN): $(BUILD)/train.o $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) -o $(BUILD)/train.new $^ $(LIBS) && mv $(BUILD)/train.new $@

$(BUILD)/train.o: train.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) -MMD -MP -x c -c -o $@ $<

# Commit and flags are recorded in the environment.json of a run.
COMMIT := $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
$(BUILD)/run/training/provenance.o: $(BUILD)/commit
FLAGS  := $(OPT) $(BASE) $(CFLAGS)
$(BUILD)/run/training/provenance.o: BASE += -DPOLAR_COMMIT='"$(COMMIT)"' -DPOLAR_FLAGS='"$(FLAGS)"'

$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) -MMD -MP -c -o $@ $<

define CPU_OPS_RULE
$(BUILD)/%.$1.$2.o: %.c $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  CC    $$@"
	$(Q)$(CC) $(OPT) $(BASE) $(ISA_FLAGS_$2) $(CFLAGS) -DREAL_$(shell echo $1 | tr bf BF) -DISA=$2 -MMD -MP -c -o $$@ $$<
endef
$(foreach t,f32 f64 bf16,$(foreach i,$(ISAS),$(eval $(call CPU_OPS_RULE,$t,$i))))

# ptxas's report of registers and register spills is kept next to the object.
ifeq ($(CUDA),yes)
$(BUILD)/%.cu.o: %.cu $(BUILD)/nvcc_flags
	@mkdir -p $(@D)
	@echo "  NVCC  $@"
	$(Q)$(NVCC) $(NVFLAGS) -MMD -MP -c -o $@ $< >$@.log 2>&1 || { cat $@.log; exit 1; }
endif

kernels: $(KERNELS:%.cu=$(BUILD)/%.cu.o) ## compile only the CUDA code
.PHONY: kernels

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	@$(AR) qcs $@ $^

# Objects are rebuilt when the compiler or its flags change.
RECORDED = $(CC) $(OPT) $(BASE) $(CFLAGS) $(foreach i,$(ISAS),$i $(ISA_FLAGS_$i))
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(RECORDED)' | cmp -s - $@ || echo '$(RECORDED)' > $@
$(BUILD)/nvcc_flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVFLAGS)' | cmp -s - $@ || echo '$(NVCC) $(NVFLAGS)' > $@
FORCE: # phony, since with .SECONDARY a missing file does not trigger a rebuild

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(TEST_LIBS) $(LIBS)

# Fuzz targets run under libFuzzer in `make fuzz`, and under replay.c otherwise, on the in-memory files of memory_files.c.
FUZZ_MAIN ?= $(BUILD)/tests/fuzz/replay.o
FUZZ_WRAP := $(patsubst %,-Wl$(comma)--wrap=%,open close access fstat pread write ftruncate fsync posix_fadvise unlink rename mmap munmap fopen)
$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/memory_files.o $(FUZZ_MAIN) $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) $(FUZZ_WRAP) -o $@ $^ $(LIBS)

TEST_LIBS := -lcmocka
BENCH := $(BUILD)/tests/bench/bench
TOOLS := $(BUILD)/tests/bench/gpu_ceilings $(BUILD)/tests/bench/peak_memory $(BUILD)/tests/fixtures/dump_logits
$(BENCH) $(TOOLS): TEST_LIBS :=
$(BENCH): $(BUILD)/tests/bench/bench_profile.o
$(BENCH): LDFLAGS += -Wl,--wrap=optim_ops
$(BUILD)/tests/bench/gpu_ceilings: $(BUILD)/tests/bench/gpu_operations.o $(BUILD)/tests/bench/gpu_symmetric.o

# An LD_PRELOAD library for fault injection in ./train: failing writes, clock jumps. Built without sanitizers.
$(BUILD)/tests/fixtures/fault_write.so: tests/fixtures/fault_write.c
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) -O1 -std=c11 -D_GNU_SOURCE $(WARN) -fPIC -shared -o $@ $< -ldl

tests: $(TESTS:%=$(BUILD)/tests/%) $(TOOLS) $(BUILD)/tests/fixtures/fault_write.so $(FUZZERS:%=$(BUILD)/tests/fuzz_%)
.PHONY: tests

test: $(TRAIN) tests emulated ## build and run all tests, or those matching ONLY=REGEX; last line: "N passed, N failed"
	@BUILD=$(BUILD) TRAIN=$(TRAIN) $$(scripts/find_python.sh) tests/run.py $(TESTS) $(EMULATED_TESTS)

# CUDA=no omits what nvcc compiles; the CUDA code is still tested through the emulator.
asan: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan
	@$(MAKE) --no-print-directory BUILD=build/asan CUDA=no OPT=-O1 \
	  CFLAGS='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' test

aarch64: $(TRAIN) ## the program for aarch64, in build/aarch64: cross-built, its unit tests and short trainings under qemu-user
	@TRAIN=$(abspath $(TRAIN)) AARCH64=all $$(scripts/find_python.sh) tests/e2e/test_aarch64.py

current: $(TRAIN) tests ## exports, imports and the tokenizer against current versions of the Python packages (downloads 3 GB into .venv-current)
	@[ -x .venv-current/bin/python ] || python3 -m venv .venv-current
	@.venv-current/bin/python -m pip install -q -r tests/requirements-current.txt
	@for t in huggingface export_models exporters tokenizer; do PEER_PYTHON=$(CURDIR)/.venv-current/bin/python TRAIN=$(CURDIR)/$(TRAIN) \
	  .venv-current/bin/python tests/e2e/test_$$t.py || exit 1; done

FUZZ_RUNS ?= 1500000
fuzz: ## all parsers of external files under libFuzzer with sanitizers (clang); FUZZ_RUNS inputs each (1500000)
	@$(MAKE) --no-print-directory BUILD=build/fuzz CUDA=no CC=clang OPT=-O2 FUZZ_MAIN= LDFLAGS=-fsanitize=fuzzer \
	  CFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Wno-pass-failed' $(FUZZERS:%=build/fuzz/tests/fuzz_%)
	@tests/fuzz/run.sh $(FUZZ_RUNS) $(FUZZERS)

leaks: $(TRAIN) ## all commands under valgrind: no leaks, no invalid or uninitialized reads
	@TRAIN=$(TRAIN) tests/e2e/leaks.sh

tsan: ## data loader, checkpoints and training under ThreadSanitizer (clang with its OpenMP runtime), in build/tsan
	@$(MAKE) --no-print-directory BUILD=build/tsan CUDA=no CC=clang OPT=-O1 \
	  CFLAGS='-fsanitize=thread -Wno-pass-failed' build/tsan/train build/tsan/tests/unit/data/test_loader \
	  build/tsan/tests/unit/run/checkpoint/test_checkpoint
	@BUILD=build/tsan tests/e2e/tsan.sh

MINUTES ?= 60
soak: $(TRAIN) ## a run of MINUTES (60), during which memory, open files and threads must not grow
	@TRAIN=$(TRAIN) $$(scripts/find_python.sh) tests/e2e/soak.py $(MINUTES)

KILLS ?= 1000
kill: $(TRAIN) ## kill -9 small runs at KILLS (1000) random moments; after resuming, their results must be unchanged
	@TRAIN=$(abspath $(TRAIN)) KILLS=$(KILLS) $$(scripts/find_python.sh) tests/e2e/test_kill.py

# Here BASE is the commit to compare with, not the compiler flags: this make compiles nothing, the script calls make itself.
same-bits: ## compare small runs of BASE=commit and of this tree: bitwise identical results (OPTIONS='--cpu --case REGEX ...')
	@[ "$(origin BASE)" = "command line" ] || { echo "error: usage: make same-bits BASE=commit" >&2; exit 1; }
	@$$(scripts/find_python.sh) tests/e2e/same_bits.py $(BASE) $(OPTIONS)

bench: $(TRAIN) $(BENCH) ## benchmarks: each operation against its roofline; whole steps against PyTorch and llm.c
	@$(BENCH)
	@scripts/bench_peers.py

lint: ## check the sources: C11 and C++17, includes, clang warnings, formatting
	@status=0; for test in tests/lint/test_style.sh\ --format tests/lint/test_clang.sh; do bash $$test || status=1; done; \
	 python3 tests/lint/test_includes.py || status=1; exit $$status

format: ## format the sources with clang-format
	clang-format -i train.cu $$(find $(FOLDERS) tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp')

clean: ## remove all build outputs
	rm -rf build train

-include $(OBJECTS:.o=.d) $(BUILD)/train.d $(shell find $(BUILD)/tests -name '*.d' 2>/dev/null)
