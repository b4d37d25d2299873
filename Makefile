# polar.c - `make` builds ./train; `make help` lists the rest.
#
# CPU operations (CPU_OPS) are compiled once per element type and instruction set and picked at run time.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
OPT   ?= -O3
WARN  := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
BASE  := -std=c11 -D_GNU_SOURCE -I. -g $(WARN) -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=off
LIBS  := -ldl -lm -lpthread

# `make V=1` shows the commands.
Q := $(if $(V),,@)

CPU_OPS := $(wildcard */cpu_ops_*.c)
SOURCES := $(filter-out $(CPU_OPS),$(wildcard device/*.c model/*.c optim/*.c data/*.c run/*.c))
ifneq ($(CUDA),imitation)
SOURCES := $(filter-out $(wildcard */cuda_*.c),$(SOURCES))
endif
TESTS   := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
FUZZERS := $(filter-out replay,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))

ifeq ($(shell uname -m),x86_64)
ISAS := base avx2 avx512
ISA_FLAGS_avx2   := -march=x86-64-v3 -ffp-contract=fast
ISA_FLAGS_avx512 := -march=x86-64-v4 -mprefer-vector-width=512 -ffp-contract=fast
else
ISAS := base
endif

OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) \
           $(foreach t,f32 f64,$(foreach i,$(ISAS),$(CPU_OPS:%.c=$(BUILD)/%.$t.$i.o)))
LIBRARY := $(BUILD)/libpolar.a

# The binary of the default build is ./train; other builds (asan) keep theirs in their own folder.
TRAIN := $(if $(filter build,$(BUILD)),train,$(BUILD)/train)

.PHONY: all test bench asan fuzz clean help format
.SECONDARY:
all: $(TRAIN) ## build ./train (the default)

include tests/cuda_on_cpu/imitation.mk

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo "Settings: CC, OPT (-O3), CFLAGS, LDFLAGS, BUILD (folder), V=1 (show the commands)"

$(TRAIN): $(BUILD)/train.o $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/train.o: train.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) -MMD -MP -x c -c -o $@ $<

# Commit and flags go into the environment record of a run.
COMMIT := $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
$(BUILD)/run/environment.o: $(BUILD)/commit
FLAGS  := $(OPT) $(BASE) $(CFLAGS)
$(BUILD)/run/environment.o: BASE += -DPOLAR_COMMIT='"$(COMMIT)"' -DPOLAR_FLAGS='"$(FLAGS)"'

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
	$(Q)$(CC) $(OPT) $(BASE) $(ISA_FLAGS_$2) $(CFLAGS) -DREAL_$(shell echo $1 | tr f F) -DISA=$2 -MMD -MP -c -o $$@ $$<
endef
$(foreach t,f32 f64,$(foreach i,$(ISAS),$(eval $(call CPU_OPS_RULE,$t,$i))))

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

# Objects are rebuilt when the compiler or its flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(OPT) $(BASE) $(CFLAGS) $(ISAS)' | cmp -s - $@ || echo '$(CC) $(OPT) $(BASE) $(CFLAGS) $(ISAS)' > $@
FORCE:

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(TEST_LIBS) $(LIBS)

# A fuzzer is run by libFuzzer in `make fuzz`, by replay.c elsewhere.
FUZZ_MAIN ?= $(BUILD)/tests/fuzz/replay.o
$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/%.o $(FUZZ_MAIN) $(LIBRARY)
	@echo "  LD    $@"
	$(Q)$(CC) $(OPT) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

TEST_LIBS := -lcmocka
$(BUILD)/tests/bench $(BUILD)/tests/dump_logits: TEST_LIBS :=
$(BUILD)/tests/bench: $(BUILD)/tests/bench_profile.o
$(BUILD)/tests/bench: LDFLAGS += -Wl,--wrap=optim_ops

tests: $(TESTS:%=$(BUILD)/tests/%) $(BUILD)/tests/dump_logits $(FUZZERS:%=$(BUILD)/tests/fuzz_%)
.PHONY: tests

test: $(TRAIN) tests imitated ## build and run every test; ends in "N passed, N failed"
	@BUILD=$(BUILD) TRAIN=$(TRAIN) tests/run.sh $(TESTS) $(IMITATED_TESTS)

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan
	@$(MAKE) --no-print-directory BUILD=build/asan OPT=-O1 \
	  CFLAGS='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' test

FUZZ_RUNS ?= 1000000
fuzz: ## every parser of outside files under libFuzzer with sanitizers (clang), FUZZ_RUNS inputs each
	@$(MAKE) --no-print-directory BUILD=build/fuzz CC=clang OPT=-O1 FUZZ_MAIN= LDFLAGS=-fsanitize=fuzzer \
	  CFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Wno-pass-failed' $(FUZZERS:%=build/fuzz/tests/fuzz_%)
	@tests/fuzz/run.sh $(FUZZ_RUNS) $(FUZZERS)

bench: $(TRAIN) $(BUILD)/tests/bench ## speed: every operation beside its floor; whole steps beside PyTorch's and llm.c's
	@$(BUILD)/tests/bench
	@scripts/bench_peers.py

format: ## rewrite the sources in the style of .clang-format
	clang-format -i $(wildcard */*.c */*.h */*.cu tests/fuzz/*.[ch] tests/cuda_on_cpu/*.[ch]* tests/cuda_on_cpu/include/*.h train.cu)

clean: ## remove everything that was built
	rm -rf build train

-include $(OBJECTS:.o=.d) $(BUILD)/train.d $(wildcard $(BUILD)/tests/*.d)
