# isamap: every task has one name. `make help` lists them.
PYTHON ?= python3
DATA ?= ../shared/data
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
SCENE := examples/chongqing/chongqing-20180402

.DEFAULT_GOAL := help
.PHONY: help demo test lint type bench bench-gpu schedule pilot docs accuracy change-bench accuracy-train train-fast train-bilinear train-equal train-family train-adapt train-staged train-joint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it with make PYTHON=/path/to/python3.x"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-for-work: $(VENV)/installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,dev,vector,report,s3,dask,train,export]'
	@touch $@

demo: $(VENV)/installed ## map Bishan, Chongqing, from the bundled Sentinel-2 scene
	@echo "Mapping $(SCENE) at 1 m (41 km2) ..."
	@$(BIN)/isamap infer --input $(SCENE)-10m.tif --input $(SCENE)-20m.tif --probability -o $(DEMO)
	@echo "The map:     $(CURDIR)/$(DEMO)/chongqing-20180402-isa.tif"
	@echo "Its picture: $(CURDIR)/$(DEMO)/chongqing-20180402-isa.png"

test: $(VENV)/installed-for-work ## run the tests
	ISAMAP_DATA=$(DATA) $(BIN)/python -m pytest -q -n 2

lint: $(VENV)/installed-for-work ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/installed-for-work ## check types
	$(BIN)/mypy

docs: $(VENV)/installed ## write the command-line reference
	$(BIN)/python -m isamap.cli.reference > docs/cli.md

bench: $(VENV)/installed-for-work ## measure speed and memory, as ratios
	$(BIN)/python tests/bench/speed.py --write docs/benchmarks.md
	$(BIN)/python tests/bench/peers.py --write docs/benchmarks.md
	$(BIN)/python tests/bench/evaluate.py --write docs/benchmarks.md
	PYTHONPATH=.:tests $(BIN)/python tests/bench/fetch.py --write docs/benchmarks.md
	PYTHONPATH=. $(BIN)/python tests/bench/compositing.py --write docs/benchmarks.md
	PYTHONPATH=.:tests $(BIN)/python tests/bench/mosaic.py --write docs/benchmarks.md
	PYTHONPATH=.:tests $(BIN)/python tests/bench/remote.py

bench-gpu: $(VENV)/installed-for-work ## measure agreement, memory and speed of a region on a GPU
	PYTHONPATH=.:tests:tests/bench $(BIN)/python tests/bench/gpu.py --write docs/benchmarks.md

schedule: $(VENV)/installed-for-work ## measure planning, engines and status with every tile of the belt, without pixels
	PYTHONPATH=.:tests:tests/bench $(BIN)/python tests/bench/schedule.py --write docs/benchmarks.md

pilot: $(VENV)/installed-for-work ## make nine tiles over two zones from catalogue to mosaic, and check every pixel
	ISAMAP_DATA=$(DATA) PYTHONPATH=.:tests $(BIN)/python tests/bench/pilot.py --write docs/pilot.md

accuracy: $(VENV)/installed-for-work ## print the accuracy tables from the stored weights
	$(BIN)/python tests/bench/accuracy.py --data $(DATA) --write docs/accuracy.md

change-bench: $(VENV)/installed-for-work ## measure change on ground whose change is known
	$(BIN)/python tests/bench/change.py --data $(DATA) --write docs/change.md

train-fast: $(VENV)/installed ## train the shipped weights again
	$(BIN)/isamap train examples/train/fast-1.toml --data $(DATA) -o runs/fast-1
	$(BIN)/isamap train examples/train/fast.toml --start runs/fast-1/fast.safetensors --data $(DATA) -o runs/fast

train-bilinear: $(VENV)/installed ## train the baseline again
	$(BIN)/isamap train examples/train/bilinear.toml --data $(DATA) -o runs/bilinear

train-equal: $(VENV)/installed ## train both networks at equal budget, for the comparison alone
	$(BIN)/isamap train examples/train/equal/fast.toml --data $(DATA) -o runs/equal-fast
	$(BIN)/isamap train examples/train/equal/bilinear.toml --data $(DATA) -o runs/equal-bilinear
	$(BIN)/python tests/bench/accuracy.py --data $(DATA) --models runs/equal-bilinear/bilinear.safetensors runs/equal-fast/fast.safetensors

FAMILY := fast fast-simulated fast-both fast-ten-bands bilinear joint joint-no-image joint-no-skips
SEEDS := 1 2 3
FAMILY_RUN = OMP_NUM_THREADS=1 $(BIN)/isamap train examples/train/family/$(1).toml --seed $$seed --data $(DATA) -o runs/family/$$seed/$(1) --device cpu
train-family: $(VENV)/installed-for-work ## train every network for a few CPU minutes, three seeds, for the comparison alone
	set -e; for seed in $(SEEDS); do \
		$(foreach name,$(FAMILY) staged-1,$(call FAMILY_RUN,$(name));) \
		$(call FAMILY_RUN,staged-2) --start runs/family/$$seed/staged-1/staged.safetensors; \
		$(call FAMILY_RUN,staged) --start runs/family/$$seed/staged-2/staged.safetensors; done
	$(BIN)/python tests/bench/family.py runs/family --data $(DATA) --write docs/accuracy.md

ADAPT_RUN = OMP_NUM_THREADS=1 $(BIN)/isamap train examples/train/adapt/$(1).toml --data $(DATA) --device cpu
ADAPTED = --start runs/adapt/source/fast.safetensors -o runs/adapt
DUBAI_2018 := s2-dubai-1m/s2-20180330-10m.tif,s2-dubai-1m/s2-20180330-20m.tif
SIMULATED := $(foreach tile,3 5 6,--target $(CURDIR)/runs/adapt/targets/tile-$(tile).tif)
train-adapt: $(VENV)/installed-for-work ## adapt to ground without labels, for the comparison alone
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/targets.py $(DATA) runs/adapt/targets
	$(call ADAPT_RUN,source) -o runs/adapt/source
	set -e; $(foreach name,further dpa dpa-plus dpa-plus-weak,$(call ADAPT_RUN,$(name)) $(ADAPTED)/$(name);)
	set -e; $(foreach way,dpa dpa-plus,$(call ADAPT_RUN,one-$(way)) $(ADAPTED)/2018-$(way) --target $(DUBAI_2018);)
	set -e; $(foreach way,dpa dpa-plus,$(call ADAPT_RUN,one-$(way)) $(ADAPTED)/simulated-$(way) $(SIMULATED);)
	set -e; $(foreach target,2018 simulated,$(call ADAPT_RUN,upper-$(target)) $(ADAPTED)/$(target)-upper;)
	PYTHONPATH=docs $(BIN)/python tests/bench/adaptation.py runs/adapt --data $(DATA) --write docs/accuracy.md --picture docs/adaptation.png

accuracy-train: train-fast train-bilinear train-equal train-family train-adapt ## train all that docs/accuracy.md compares, hours of CPU; score it
	$(BIN)/python tests/bench/accuracy.py --data $(DATA) --models runs/bilinear/bilinear.safetensors runs/fast/fast.safetensors

train-staged: $(VENV)/installed ## train Prog-ESRGAN and its segmenter, four stages, on a GPU
	$(BIN)/isamap train examples/train/staged/1-image.toml --data $(DATA) -o runs/staged-1
	$(BIN)/isamap train examples/train/staged/2-adversarial.toml --start runs/staged-1/staged.safetensors --data $(DATA) -o runs/staged-2
	$(BIN)/isamap train examples/train/staged/3-segmentation.toml --start runs/staged-2/staged.safetensors --data $(DATA) -o runs/staged-3
	$(BIN)/isamap train examples/train/staged/4-joint.toml --start runs/staged-3/staged.safetensors --data $(DATA) -o runs/staged-4

train-joint: $(VENV)/installed ## train joint, two stages, on a GPU
	$(BIN)/isamap train examples/train/joint/1-image.toml --data $(DATA) -o runs/joint-1
	$(BIN)/isamap train examples/train/joint/2-joint.toml --start runs/joint-1/joint.safetensors --data $(DATA) -o runs/joint-2

clean: ## remove what the other targets made, but no training run
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
