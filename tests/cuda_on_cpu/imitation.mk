# The CUDA part of the program compiled for the CPU (README.md here): `make BUILD=build/cuda_on_cpu CUDA=imitation tests`
# builds everything that way; `make test` builds and runs the programs IMITATED beside the others.

IMITATED := test_cuda_on_cpu

# The toolkit's headers, found by nvcc's place, CUDA_HOME or the usual folder.
CUDA_PLACES  := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc))) $(CUDA_HOME) /usr/local/cuda
CUDA_HEADERS := $(firstword $(foreach p,$(CUDA_PLACES),$(if $(wildcard $p/include/cuda_bf16.h),$p/include)))

ifeq ($(CUDA),imitation)

ifeq ($(CUDA_HEADERS),)
$(error CUDA=imitation needs the headers of the CUDA toolkit: none beside nvcc, in CUDA_HOME or in /usr/local/cuda)
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
IMITATION := -DPOLAR_CUDA -DCUDA_ON_CPU -Itests/cuda_on_cpu/include -isystem $(CUDA_HEADERS)
CXX_BASE  := -std=c++17 -D_GNU_SOURCE -I. -g -Wall -Wextra -Werror -Wno-unknown-pragmas -fno-math-errno \
             -fno-trapping-math -ffp-contract=off $(IMITATION)
BASE      += $(IMITATION)
LIBS      += -lstdc++
TESTS     += $(patsubst tests/%.cu,%,$(wildcard tests/test_*.cu))
OBJECTS   += $(patsubst %.cu,$(BUILD)/%.o,$(wildcard device/*.cu model/*.cu optim/*.cu run/*.cu)) \
             $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/cuda_on_cpu/*.cpp))

$(BUILD)/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CXX   $@"
	$(Q)$(CXX) $(OPT) $(CXX_BASE) $(CFLAGS) -MMD -MP -x c++ -c -o $@ $<

$(BUILD)/%.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CXX   $@"
	$(Q)$(CXX) $(OPT) $(CXX_BASE) $(CFLAGS) -MMD -MP -c -o $@ $<

imitated:

else ifneq ($(CUDA_HEADERS),)

IMITATED_TESTS := $(IMITATED:%=cuda_on_cpu/%)
imitated:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/cuda_on_cpu CUDA=imitation $(IMITATED:%=$(BUILD)/cuda_on_cpu/tests/%)

else

imitated:
export SKIP_CUDA_ON_CPU := no CUDA headers beside nvcc, in CUDA_HOME or in /usr/local/cuda

endif
.PHONY: imitated
