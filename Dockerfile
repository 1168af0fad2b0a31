# syntax=docker/dockerfile:1

# The page, and OpenAI's API beside it, as `python -m minigpt4 serve` starts them.
#
#     docker build --tag minigpt4 .
#     docker build --tag minigpt4:cuda --build-arg VARIANT=cuda .
#     docker run --read-only --tmpfs /tmp --volume minigpt4:/data \
#         --publish 127.0.0.1:7860:7860 minigpt4
#
# Written to at run time: /tmp, and /data for what is fetched from the Hub. Weights of other models
# are mounted at /app/weights. Keys and passwords come in variables when it is run, never into the
# image. docs/scale.md says more.

ARG VARIANT=cpu

FROM python:3.11-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PIP_CACHE_DIR=/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# PyTorch of the package index brings CUDA's libraries, several gigabytes; PyTorch's own index has
# the same version without them. The versions are those of CI. pip's cache is a mount of the build and
# no part of the image.
FROM base AS packages-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt constraints.txt /build/
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/pip \
    python -m venv /venv \
    && pip install --no-deps --constraint /build/constraints.txt --index-url "$TORCH_INDEX" \
        torch torchvision \
    && pip install --constraint /build/constraints.txt --requirement /build/requirements.txt

# The driver is the host's, brought in by NVIDIA's container toolkit.
FROM base AS packages-cuda
COPY requirements.lock /build/
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/pip \
    python -m venv /venv \
    && pip install --require-hashes --requirement /build/requirements.lock

# A stage, not an image that could have a tag.
# hadolint ignore=DL3006
FROM packages-${VARIANT} AS packages

FROM base
RUN useradd --uid 10001 --create-home --home-dir /data --shell /usr/sbin/nologin minigpt4
COPY --from=packages /venv /venv
COPY LICENSE NOTICE THIRD_PARTY.md demo.py /app/
COPY eval_configs /app/eval_configs
COPY minigpt4 /app/minigpt4
WORKDIR /app
# Compiled once, for /app is not written to.
RUN python -m compileall -q minigpt4
ENV HOME=/data \
    HF_HOME=/data/huggingface \
    MPLCONFIGDIR=/tmp \
    XDG_CACHE_HOME=/tmp \
    GRADIO_ANALYTICS_ENABLED=False \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /data
EXPOSE 7860
USER 10001:10001
# Alive, not ready: a model of 13 GB takes minutes, during which the page says so. /readyz is for
# whoever sends people here.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 7860, timeout=8); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "minigpt4"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860"]
