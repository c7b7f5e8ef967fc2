# The stack and the checks; all set-up is deploy/local's, which needs nothing but Python, and lands in build/.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
OUT ?= out
export PYTHONPATH := deploy

BIN := build/venv/bin
SETUP := $(PYTHON) -m local.setup
LOCAL := $(BIN)/python -m local
TRAINING := $(BIN)/python -m brainmets.training
EVALUATION := $(BIN)/python -m brainmets.evaluation
SCORE = $(EVALUATION) score --model $(NETWORKS:%=model_repository/%)
NETWORKS := nested_unet attention_unet
# Real studies, which are not part of this repository.
DATA ?= ../shared/data
VALIDATION = $(DATA)/glioma_brats2021_00006
TEST = $(DATA)/metastasis_bratsmet_00110
# Networks of your own: `make train-own`, and `make run BRAINMETS_MODEL_REPOSITORY=build/own/model_repository`.
OWN ?= build/own
MINUTES ?= 300
OWN_STUDIES = --studies "$(STUDIES)" $(if $(LABELS),--labels $(LABELS))
OWN_SPLIT = $(OWN_STUDIES) --split $(OWN)/split.json
OWN_PART = $(OWN_STUDIES) --split-file $(OWN)/split.json
OWN_EXPORT = --checkpoint $(OWN)/$$network/checkpoint-best.pt $(OWN_SPLIT) \
  --facts services/brainmets/training/labelled_card.json
# Each in a process of its own: one that has loaded the libraries of all ends with a segmentation fault (DECISIONS 63).
PARTS = $(filter-out %/__pycache__/,$(wildcard tests/*/))
# How many of them at once: a test waits more than it computes.
AT_ONCE ?= 2
run_parts = $(if $(TESTS),$(BIN)/python -m pytest -m "$(1)" $(TESTS),\
  $(MAKE) --keep-going --output-sync --jobs $(AT_ONCE) MARKED="$(1)" $(PARTS))
# Pytest's answer when nothing was selected.
NO_TESTS := 5

.PHONY: help run up down test check bench bench-record bench-engines bench-stacks bench-upload load faults integration fuzz protos protos-baseline train evaluate export train-own ablations deploy-check lock-images capacity dashboards docs clean $(PARTS)

help: ## this list
	@grep -hE '^[a-z -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

run: ## segment STUDY=path into OUT=dir (out/); without STUDY a demonstration study
	@$(SETUP) run
	@$(LOCAL) run $(if $(STUDY),--study "$(STUDY)") --output "$(OUT)"

up: ## start the service and leave it running
	@$(SETUP) run
	@$(LOCAL) up

down: ## stop the service
	@test ! -x $(BIN)/python || $(LOCAL) down

test: ## unit tests, contracts, and the whole path on the real Triton and Redis
	@$(SETUP) test
	@echo "The folders of tests, $(AT_ONCE) at once; what one says is shown when it has ended."
	@$(call run_parts,not integration and not fault)

check: ## ruff, mypy, import contracts, buf
	@$(SETUP) test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy -p brainmets -p local -p monitoring -p capacity
	@$(BIN)/lint-imports
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code

bench: ## measure STUDY=path, by default the demonstration study, and print; ARGS="--without monai load" for less
	@$(SETUP) test
	@$(LOCAL) bench $(if $(STUDY),--study "$(STUDY)") $(if $(ARGS),--options="$(ARGS)")

bench-record: ## add the last bench to the history in docs/figures, draw it, and print the tables of docs/performance.md
	@$(SETUP) test
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_history build/bench.json
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_tables docs/figures/bench.json docs/figures/engines/*.json

bench-engines: ## compare the engines that can run the networks on a tile of STUDY=folder of NIfTI files
	@$(SETUP) test
	@$(BIN)/python tests/benchmarks/engine_bench.py --study "$(or $(STUDY),$(TEST))"

bench-stacks: ## compare two running stacks in turns, ADDRESSES="127.0.0.1:8500 127.0.0.1:9000" (BRAINMETS_FIRST_PORT)
	@test -n "$(ADDRESSES)" || { echo 'Name two stacks: make bench-stacks ADDRESSES="127.0.0.1:8500 127.0.0.1:9000"'; exit 1; }
	@$(SETUP) test
	@$(BIN)/python tests/benchmarks/stacks_bench.py --study "$(or $(STUDY),$(TEST))" --addresses $(ADDRESSES) $(ARGS)

bench-upload: ## upload large files, many files and many studies at once to an API of its own: rate, memory, CPU time
	@$(SETUP) test
	@PYTHONPATH=deploy:tests $(BIN)/python tests/benchmarks/upload_bench.py

load: ## send studies at a steady rate by k6 for a minute; ARGS="--per-minute 20 --duration 10m" for another (docs/load.md)
	@$(SETUP) test
	@$(LOCAL) load --options="$(ARGS)"

$(PARTS):
	@code=0; $(BIN)/python -m pytest -m "$(MARKED)" $@ || code=$$?; test $$code = 0 -o $$code = $(NO_TESTS)

faults: ## tests that kill and freeze real processes
	@$(SETUP) test
	@$(BIN)/python -m pytest -m fault $(TESTS)

integration: ## tests that take minutes, or need Debian packages
	@$(SETUP) test
	@echo "The folders of tests, $(AT_ONCE) at once; what one says is shown when it has ended."
	@$(call run_parts,integration)

fuzz: ## fuzz all that reads input for TIME=seconds (300) or RUNS=inputs; table, build/fuzz.json, build/fuzz/
	@$(SETUP) fuzz
	@PYTHONPATH=services:tests $(BIN)/python -m fuzzing $(if $(RUNS),--runs $(RUNS)) $(if $(TIME),--seconds $(TIME)) $(ARGS)

protos: ## write the committed stubs after a change of protos/
	@$(SETUP) test
	@protos/generate.sh $(BIN)/python services

protos-baseline: ## make the contract of now the released one
	@$(SETUP) test
	@$(BIN)/buf build --exclude-source-info --path protos/brainmets/v1 -o protos/baseline.binpb

train: ## train both networks, the first two of the shipped ones' seven cycles, 143 minutes; DATA=folder of heads (docs/accuracy.md)
	@$(SETUP) test
	@$(TRAINING) train-shipped --data $(DATA) build/training/data --out build/training $(ARGS)

export: ## choose temperature and operating points on validation data, write model_repository, and round to int8
	@$(SETUP) test
	@for network in $(NETWORKS); do $(TRAINING) export --checkpoint build/training/$$network/checkpoint.pt \
	  --repository build/training/candidates --study $(VALIDATION); done
	@$(EVALUATION) choose-points --model $(NETWORKS:%=build/training/candidates/%) --study $(VALIDATION) --synthetic 16 \
	  --both-ways --out build/training/decisions
	@for network in $(NETWORKS); do $(TRAINING) export --checkpoint build/training/$$network/checkpoint.pt \
	  --repository model_repository --study $(VALIDATION) --decision build/training/decisions/$$network.json; done
	@$(TRAINING) quantize --model $(NETWORKS:%=model_repository/%) --study $(VALIDATION) --synthetic 4

evaluate: ## score the shipped networks into build/evaluation.json, and put the figures into their cards
	@$(SETUP) test
	@$(SCORE) --study $(VALIDATION) --synthetic 16 --as-acquired \
	  --name "drawn lesions in an unseen head as it was acquired" \
	  --split "validation anatomy, other draws than chose the operating points"
	@$(SCORE) --study $(VALIDATION) --synthetic 48 --as-acquired --operating-point sensitive \
	  --name "drawn lesions in an unseen head as it was acquired, SENSITIVE" \
	  --split "validation anatomy, other draws than chose the operating points"
	@$(SCORE) --study $(VALIDATION) --synthetic 16 --name "drawn lesions in an unseen head, degraded" \
	  --split "validation anatomy, other draws than chose the operating points"
	@$(SCORE) --study $(VALIDATION) --name "glioma BraTS2021_00006, tumour core by experts" \
	  --split "validation anatomy, kept out of training"
	@$(SCORE) --study $(TEST) --labels 2 --reference $(TEST)/reference/model_output_segmentation.nii.gz \
	  --name "metastasis BraTS-MET-00110, agreement with another model" --split "test, used for no choice"
	@$(SCORE) --int8 --study $(VALIDATION) --synthetic 16 --as-acquired \
	  --name "drawn lesions in an unseen head as it was acquired, int8" \
	  --split "validation anatomy, of which other draws chose points and rounding"
	@$(SCORE) --int8 --study $(VALIDATION) --name "glioma BraTS2021_00006, tumour core by experts, int8" \
	  --split "validation anatomy, of which draws chose points and rounding"
	@$(SCORE) --int8 --study $(TEST) --labels 2 --reference $(TEST)/reference/model_output_segmentation.nii.gz \
	  --name "metastasis BraTS-MET-00110, agreement with another model, int8" --split "test, used for no choice"
	@$(TRAINING) state-metrics --repository model_repository --evaluation build/evaluation.json

train-own: ## both networks from your labelled STUDIES=folder into build/own, MINUTES=300 each (docs/accuracy.md)
	@test -d "$(STUDIES)" || { echo "Name the folder of labelled studies: make train-own STUDIES=folder"; exit 1; }
	@$(SETUP) test
	@test -f $(OWN)/split.json || $(TRAINING) split --studies "$(STUDIES)" --out $(OWN)/split.json \
	  $(if $(PATIENT),--patient '$(PATIENT)')
	@for network in $(NETWORKS); do \
	  $(TRAINING) train --network $$network $(OWN_SPLIT) --start model_repository/$$network --learning-rate 8e-4 \
	    --minutes $(MINUTES) --updates 1000000 --cache $(OWN)/cache --out $(OWN)/$$network; \
	  $(TRAINING) export $(OWN_EXPORT) --repository $(OWN)/candidates; done
	@$(EVALUATION) choose-points --model $(NETWORKS:%=$(OWN)/candidates/%) $(OWN_PART) --out $(OWN)/decisions
	@for network in $(NETWORKS); do \
	  $(TRAINING) export $(OWN_EXPORT) --repository $(OWN)/model_repository --decision $(OWN)/decisions/$$network.json; done
	@$(TRAINING) quantize --model $(NETWORKS:%=$(OWN)/model_repository/%) $(OWN_SPLIT)
	@$(EVALUATION) score --model $(NETWORKS:%=$(OWN)/model_repository/%) $(OWN_PART) --part test \
	  --name "labelled studies" --split test --out $(OWN)/evaluation.json
	@$(TRAINING) state-metrics --repository $(OWN)/model_repository --evaluation $(OWN)/evaluation.json

ablations: ## short trainings that differ in one thing each, compared (about 3 hours of one core; docs/accuracy.md)
	@$(SETUP) test
	@$(TRAINING) ablate --data $(DATA) build/training/data --study $(VALIDATION) --out build/ablations $(ARGS)
	@$(EVALUATION) compare --candidates $$(ls -d build/ablations/*/*_unet | xargs -n1 dirname | sort -u) \
	  --study $(VALIDATION) --test $(TEST) --reference $(TEST)/reference/model_output_segmentation.nii.gz --labels 2 \
	  --out build/ablations.json

deploy-check: ## render the deployment for Kubernetes and test it, the images and the monitoring as text, checkov and hadolint too
	@$(SETUP) test
	@$(BIN)/python -m local.scanners
	@$(BIN)/python -m pytest tests/deploy

lock-images: ## put the digest of each image of others beside its tag, as the registries have it now
	@$(PYTHON) -m local.image_digests

capacity: ## compare the simulated rate with the bench, and print what studies an hour need (docs/capacity.md)
	@$(SETUP) test
	@$(BIN)/python -m capacity $(ARGS)

dashboards: ## write the committed Grafana dashboards and docs/metrics.md after a change
	@$(SETUP) test
	@PYTHONPATH=deploy $(BIN)/python -m monitoring.grafana.dashboards
	@PYTHONPATH=deploy $(BIN)/python -m monitoring.metrics.page

docs: ## build the documentation site into build/site, readable without a network
	@$(SETUP) test
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: down ## take build/ away, and with it all that was set up
	@rm -rf build
