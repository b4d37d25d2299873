# The CUDA part of the program compiled for the CPU (README.md here): `make BUILD=build/cuda_on_cpu CUDA=imitation tests`
# builds everything that way; `make test` builds and runs the programs IMITATED beside the others.

# Those of the GPU's operations run on a real GPU too (scripts/gpu_check.sh); the first four are about the imitation.
DEVICE_TESTS := test_cuda_device test_cuda_symmetric test_device_solve test_gemm test_ops test_ops_nonlinear test_attention \
                test_gradients test_golden_model test_recompute test_optim_ops test_optim test_optim_polar test_optim_safety \
                test_golden_optim test_polar_ops test_polar test_polar_methods test_problems
IMITATED := test_cuda_on_cpu test_cuda_on_cpu_runtime test_cuda_on_cpu_ptx test_cuda_on_cpu_libraries $(DEVICE_TESTS)

device-tests: $(DEVICE_TESTS:%=$(BUILD)/tests/%)
device-tests-list:
	@printf '%s\n' $(DEVICE_TESTS)
.PHONY: device-tests device-tests-list

# The toolkit's headers, found by nvcc's place, CUDA_HOME or the usual folder.
CUDA_PLACES := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc))) $(CUDA_HOME) /usr/local/cuda
IMITATION_HEADERS := $(firstword $(foreach p,$(CUDA_PLACES),$(if $(and $(wildcard $p/include/cuda_bf16.h), \
                       $(wildcard $p/include/cublasLt.h),$(wildcard $p/include/cusolverDn.h)),$p/include)))

ifeq ($(CUDA),imitation)

ifeq ($(IMITATION_HEADERS),)
$(error CUDA=imitation needs the headers of the CUDA toolkit: none beside nvcc, in CUDA_HOME or in /usr/local/cuda)
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
IMITATION := -DPOLAR_CUDA -DCUDA_ON_CPU -Itests/cuda_on_cpu/include -isystem $(IMITATION_HEADERS)
CXX_BASE  := -std=c++17 -D_GNU_SOURCE -I. -g -Wall -Wextra -Werror -Wno-unknown-pragmas -fno-math-errno \
             -fno-trapping-math -ffp-contract=off $(IMITATION)
# Misaligned accesses end the program. (The sanitizers of CFLAGS find them too, and say more.)
ifeq ($(findstring -fsanitize,$(CFLAGS)),)
CXX_BASE  += -fsanitize=alignment -fsanitize-undefined-trap-on-error
endif
BASE      += $(IMITATION)
LIBS      += -lstdc++
TESTS     += $(patsubst tests/%.cu,%,$(wildcard tests/test_*.cu))
KERNELS   := $(ALL_KERNELS)
OBJECTS   := $(sort $(OBJECTS) $(KERNELS:%=$(BUILD)/%.o) $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/cuda_on_cpu/*.cpp)))

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
$(BUILD)/tests/nvtx_ranges.so: tests/nvtx_ranges.c
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) -O1 -std=c11 $(WARN) -isystem $(IMITATION_HEADERS) -fPIC -shared -o $@ $<
ifneq ($(wildcard $(IMITATION_HEADERS)/nvtx3/nvToolsExt.h),)
tests: $(BUILD)/tests/nvtx_ranges.so
endif

imitated:

else ifneq ($(IMITATION_HEADERS),)

IMITATED_TESTS := $(IMITATED:%=cuda_on_cpu/%)
imitated: $(LIBRARY)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/cuda_on_cpu OBJECTS_FROM=$(BUILD) CUDA=imitation \
	  $(BUILD)/cuda_on_cpu/train $(IMITATED:%=$(BUILD)/cuda_on_cpu/tests/%) $(BUILD)/cuda_on_cpu/tests/gpu_ceilings \
	  $(if $(wildcard $(IMITATION_HEADERS)/nvtx3/nvToolsExt.h),$(BUILD)/cuda_on_cpu/tests/nvtx_ranges.so)

else

imitated:
export SKIP_CUDA_ON_CPU := no CUDA headers beside nvcc, in CUDA_HOME or in /usr/local/cuda

endif
.PHONY: imitated
