# The CUDA part of the program compiled for the CPU (README.md here): `make BUILD=build/emulator CUDA=emulator tests`
# builds everything that way; `make test` builds and runs the programs EMULATED beside the others.

# Those of the GPU's operations run on a real GPU too (scripts/gpu_check.sh); the first four are about the emulator.
DEVICE_TESTS := $(addprefix unit/device/,test_cuda_device test_cuda_syrk test_device_solve test_gemm) \
                $(addprefix unit/model/,test_ops test_ops_nonlinear test_attention test_gradients test_golden_model test_recompute) \
                $(addprefix unit/optim/,test_optim_ops test_optim test_optim_polar test_optim_safety test_golden_optim) \
                $(addprefix unit/optim/polar/,test_polar_ops test_polar test_polar_methods) unit/run/problems/test_problems
EMULATED := $(addprefix emulator/,test_emulator test_emulator_runtime test_emulator_ptx test_emulator_libraries) $(DEVICE_TESTS)

device-tests: $(DEVICE_TESTS:%=$(BUILD)/tests/%)
device-tests-list:
	@printf '%s\n' $(DEVICE_TESTS)
.PHONY: device-tests device-tests-list

# The toolkit's headers, found by nvcc's place, CUDA_HOME or the usual folder.
CUDA_PLACES := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc))) $(CUDA_HOME) /usr/local/cuda
EMULATOR_HEADERS := $(firstword $(foreach p,$(CUDA_PLACES),$(if $(and $(wildcard $p/include/cuda_bf16.h), \
                       $(wildcard $p/include/cublasLt.h),$(wildcard $p/include/cusolverDn.h)),$p/include)))

ifeq ($(CUDA),emulator)

ifeq ($(EMULATOR_HEADERS),)
$(error CUDA=emulator needs the headers of the CUDA toolkit: none beside nvcc, in CUDA_HOME or in /usr/local/cuda)
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
EMULATOR := -DPOLAR_CUDA -DCUDA_EMULATOR -Itests/emulator/include -isystem $(EMULATOR_HEADERS)
CXX_BASE  := -std=c++17 -D_GNU_SOURCE -I. -g -Wall -Wextra -Werror -Wno-unknown-pragmas -fno-math-errno \
             -fno-trapping-math -ffp-contract=off $(EMULATOR)
# Misaligned accesses end the program. (The sanitizers of CFLAGS find them too, and say more.)
ifeq ($(findstring -fsanitize,$(CFLAGS)),)
CXX_BASE  += -fsanitize=alignment -fsanitize-undefined-trap-on-error
endif
BASE      += $(EMULATOR)
LIBS      += -lstdc++
TESTS     += $(patsubst tests/%.cu,%,$(wildcard tests/emulator/test_*.cu))
KERNELS   := $(ALL_KERNELS)
OBJECTS   := $(sort $(OBJECTS) $(KERNELS:%=$(BUILD)/%.o) $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/emulator/*.cpp)))

# What is the same with and without CUDA is taken from the folder of another build, if one is named.
ifdef OBJECTS_FROM
SAME    := $(filter $(foreach i,$(ISAS),%.$i.o) $(BUILD)/data/%.o $(BUILD)/base/%.o,$(OBJECTS))
OBJECTS := $(filter-out $(SAME),$(OBJECTS)) $(SAME:$(BUILD)/%=$(OBJECTS_FROM)/%)
endif

CXX_COMMAND = @mkdir -p $(@D); echo "  CXX   $@"; $(if $(V),set -x;) \
              $(CXX) $(OPT) $(CXX_BASE) $(CFLAGS) -MMD -MP -x c++ -c -o $@ $<
$(BUILD)/%.cu.o: %.cu $(BUILD)/cxx_flags
	$(CXX_COMMAND)
$(BUILD)/tests/%.o: tests/%.cu $(BUILD)/cxx_flags
	$(CXX_COMMAND)
$(BUILD)/%.o: %.cpp $(BUILD)/cxx_flags
	$(CXX_COMMAND)
$(BUILD)/cxx_flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CXX) $(OPT) $(CXX_BASE) $(CFLAGS)' | cmp -s - $@ || echo '$(CXX) $(OPT) $(CXX_BASE) $(CFLAGS)' > $@

# Loaded by NVTX in the place of a profiler.
$(BUILD)/tests/fixtures/nvtx_ranges.so: tests/fixtures/nvtx_ranges.c
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) -O1 -std=c11 $(WARN) -isystem $(EMULATOR_HEADERS) -fPIC -shared -o $@ $<
ifneq ($(wildcard $(EMULATOR_HEADERS)/nvtx3/nvToolsExt.h),)
tests: $(BUILD)/tests/fixtures/nvtx_ranges.so
endif

emulated:

else ifneq ($(EMULATOR_HEADERS),)

EMULATED_TESTS := $(EMULATED:%=emulator:%)
emulated: $(LIBRARY)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/emulator OBJECTS_FROM=$(BUILD) CUDA=emulator \
	  $(BUILD)/emulator/train $(EMULATED:%=$(BUILD)/emulator/tests/%) $(BUILD)/emulator/tests/bench/gpu_ceilings \
	  $(if $(wildcard $(EMULATOR_HEADERS)/nvtx3/nvToolsExt.h),$(BUILD)/emulator/tests/fixtures/nvtx_ranges.so)

else

emulated:
export SKIP_CUDA_EMULATOR := no CUDA headers beside nvcc, in CUDA_HOME or in /usr/local/cuda

endif
.PHONY: emulated
