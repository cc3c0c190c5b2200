# `make demo` and `make test` need no other set-up.
PYTHON ?= python3
VENV ?= .venv
# The release behind the results in this repository; any torch >= 2.10 works.
TORCH ?= torch==2.13.0
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

INSTALLED := $(VENV)/.installed
KERNELS := $(wildcard $(foreach d,csrc csrc/cpu csrc/cpu/isa csrc/cuda csrc/cuda/instances,$(addprefix $(d)/,*.cpp *.h *.cu *.cuh)))
SOURCES := setup.py pyproject.toml build_tools/backend.py csrc/cuda/nvcc_build.py $(KERNELS)

.PHONY: demo test test-all lint bench bench-again study gpu-check triton-table fuzz sanitize wheels docs clean help

help:
	@echo "make demo   depth against accuracy on built-in data, then speed against PyG scatter (5 minutes)"
	@echo "make test   the test suite (8 minutes on two cores, with the installation)"
	@echo "make test-all  the rest: sanitizers, ahead-of-time compilation, interpreter and device-code suites, a fuzz"
	@echo "make lint   ruff, mypy, clang-format"
	@echo "make bench  the full benchmark on this machine (about an hour), page and figures, then the targets"
	@echo "make bench-again  ours, merged torch.addmm and MKL in six more processes (30 minutes), for medians over processes"
	@echo "make study  the paper's tables that take minutes, with the datasets in DATA (default data), into the site"
	@echo "make gpu-check  on a machine with a GPU and a CUDA torch: build, test, measure (9 minutes, no network)"
	@echo "make triton-table   compile the Triton kernels for several GPU architectures: registers, spills, loads"
	@echo "make fuzz   CALLS=1000000 random calls against a dense float64 oracle, on all cores (15 minutes)"
	@echo "make sanitize CALLS=50000  the same calls with the address and undefined behaviour sanitizers, in build/sanitize"
	@echo "make wheels the source distribution and the wheel, checked, and run in empty environments, in build/wheels"
	@echo "make docs   the documentation site, in build/site"
	@echo "make clean  remove the environment and everything built"

$(INSTALLED): $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" ninja
	$(BIN)/python -m pip install --quiet "$(TORCH)" numpy
	SBP_BUILD_NATIVE=1 $(BIN)/python -m pip install --quiet --no-build-isolation -e ".[test,lint]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -c "import sbp_kernels; print(sbp_kernels.show_config())"
	$(BIN)/python -m sbp_study depth --dataset csbm --models sgc,label-sbp --layers 2,5,10,50 --out out
	$(BIN)/python -m benchmarks.bench_propagate --demo

# One thread a worker: tests that need several set their number.
PYTEST := SBP_BUILD_NATIVE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED)
	$(PYTEST) -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(KERNELS)

# Without MKL, its rows say that it is not installed.
$(VENV)/.bench: $(INSTALLED)
	-$(BIN)/python -m pip install --quiet "mkl>=2025"
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.bench_propagate
	$(BIN)/python -m benchmarks.bench_build
	$(BIN)/python -m benchmarks.bench_implicit
	$(BIN)/python -m benchmarks.bench_reorder
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.check_targets

# Memory placement and core clocks differ between processes, so ratios near a target need several processes.
AGAIN := $(BIN)/python -m benchmarks.bench_propagate --dtype float32 --methods merged_addmm_int32,merged_addmm_int64,mkl_handle,mkl_handle_copy
BOTH := --modes forward,forward+backward
bench-again: $(VENV)/.bench
	for process in 1 2 3 4 5 6; do \
	  $(AGAIN) $(BOTH) --sizes cora,pubmed --widths 16,32,64,128,256,512 && \
	  $(AGAIN) $(BOTH) --sizes road,bitcoin-otc,wiki-rfa --widths 64 && \
	  $(AGAIN) --modes forward --sizes degree-2,degree-4,degree-8,degree-16,degree-32,degree-64 --widths 64 && \
	  $(AGAIN) --modes forward --sizes degree-128,degree-256 --widths 64,128 && \
	  $(AGAIN) $(BOTH) --sizes arxiv --widths 64,128 || exit 1; \
	done
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.check_targets

DATA ?= data
study: $(INSTALLED)
	$(BIN)/python -m benchmarks.bench_study --root $(DATA)
	$(BIN)/python -m benchmarks.render --study

# Use PYTHON, which needs a CUDA build of torch; install nothing.
gpu-check:
	$(PYTHON) benchmarks/gpu/check.py

triton-table: $(INSTALLED)
	$(BIN)/python -m tests.triton.ahead_of_time

# Random calls against a dense float64 oracle; failing cases are stored in out/fuzz, for --replay.
CALLS ?= 1000000
SEED ?= 0
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz --calls $(CALLS) --seed $(SEED)

# Interpreters and releases of torch to run the wheel with; empty: those of this environment and the newest torch.
WHEEL_PYTHONS ?=
WHEEL_TORCHES ?=
wheels: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e ".[wheels]" --no-build-isolation
	$(BIN)/python build_tools/wheels.py $(WHEEL_PYTHONS:%=--python %) $(WHEEL_TORCHES:%=--torch %)

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e ".[docs]" --no-build-isolation
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) build out *.egg-info sbp_kernels/_C*

# Build into build/sanitize, separately from the extension of the package.
sanitize: CALLS = 50000
sanitize: $(INSTALLED)
	$(BIN)/python tests/sanitizers/run.py --calls $(CALLS) --seed $(SEED)
