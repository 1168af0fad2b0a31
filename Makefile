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

resume = $$(test -f runs/tiny/$(1)/checkpoint.safetensors && echo --resume)

tiny-train: .venv/runtime
	$(BIN)/python train/run.py --stage 0 --output runs/tiny/parts
	$(BIN)/python train/run.py --stage 1 $(PARTS) --output runs/tiny/stage1 $(call resume,stage1)
	$(BIN)/python train/run.py --stage 2 $(PARTS) --set start=runs/tiny/stage1/projection.safetensors \
		--output runs/tiny/stage2 $(call resume,stage2)

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

.venv/development: requirements.txt requirements-dev.txt constraints.txt | .venv/bin/python
	@echo "Installing the packages, several gigabytes with PyTorch; this takes some minutes once."
	$(INSTALL) --quiet -r requirements-dev.txt
	@touch $@ .venv/runtime
