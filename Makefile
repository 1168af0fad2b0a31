# `make demo` opens the page, `make test` runs the tests; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
HOST ?= 127.0.0.1
PORT ?= 7860

.PHONY: demo test check format screenshots tiny-train tiny-ship tiny-report clean help

help:
	@echo "make demo         set up and open the page on http://$(HOST):$(PORT)"
	@echo "make test         set up and run the tests (browser tests too where chromium is installed)"
	@echo "make check        format, lint, types, import contracts"
	@echo "make format       rewrite the code in the project's format"
	@echo "make screenshots  pictures of the page for the README (needs chromium)"
	@echo "make tiny-train   train the embedded default from nothing (about two hours on 2 cores)"
	@echo "make tiny-ship    make what tiny-train trained the embedded default"
	@echo "make tiny-report  score the embedded default and rewrite its model card"

demo: .venv/runtime
	$(BIN)/python demo.py --host $(HOST) --port $(PORT)

test: .venv/development
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: .venv/development
	$(BIN)/python -m tests.ui.screenshots docs/pictures

# Each step goes on where it was interrupted. What comes out is tried with the printed command, and
# becomes the embedded default by `make tiny-ship`.
PARTS := $(foreach part,vision.safetensors qformer.safetensors language,\
	--set model.$(subst language,language_model,$(basename $(part)))=runs/tiny/parts/$(part))

tiny-train: .venv/runtime
	$(BIN)/python train/run.py --stage 0 --output runs/tiny/parts
	$(BIN)/python train/run.py --stage 1 $(PARTS) --output runs/tiny/stage1 --resume
	$(BIN)/python train/run.py --stage 2 $(PARTS) --set start=runs/tiny/stage1/projection.safetensors \
		--output runs/tiny/stage2 --resume

tiny-ship:
	mkdir -p minigpt4/assets/tiny/language
	cp runs/tiny/parts/vision.safetensors runs/tiny/parts/qformer.safetensors minigpt4/assets/tiny/
	cp runs/tiny/parts/language/* minigpt4/assets/tiny/language/
	cp runs/tiny/stage1/projection.safetensors minigpt4/assets/tiny/projection_stage1.safetensors
	cp runs/tiny/stage2/projection.safetensors minigpt4/assets/tiny/projection.safetensors

tiny-report: .venv/runtime
	$(BIN)/python -m train.tiny.report

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# A stamp file says when the packages of a requirements file were last installed.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/development: requirements.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ .venv/runtime
