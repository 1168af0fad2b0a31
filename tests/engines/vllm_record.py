"""What a real vLLM server said to our requests, and how to record it anew.

    python -m tests.engines.vllm_record URL [OTHER_URL]

URL serves the embedded language model as `make test-vllm` starts it (docs/scale.md); OTHER_URL, if
given, serves it with `--api-key secret` and without `--enable-prompt-embeds`.

Beside the record lies what it was recorded with, the language model in float16 and the visual tokens
of the picture, so that it stays true when the embedded default changes.
"""

import base64
import io
import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors.torch import load_file, save_file

from minigpt4.build import build_model
from minigpt4.checkpoints.embeddings import load_language_input
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.config import ASSETS, GenerationSettings, load_config
from minigpt4.conversation import Conversation, Prompt, render
from minigpt4.engines.vllm_wire import (
    ANSWER_ROUTE,
    IDS_ROUTE,
    answer_request,
    probe_requests,
    with_model,
)
from minigpt4.images import load_image, to_pixel_values
from minigpt4.models.language import load_language_model
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import Preset, QFormerConfig, VisionConfig
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import PROMPT_FORMATS

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/vllm_0_32.json"
RECORDED_WITH = ROOT / "tests/golden/vllm"
FORMAT = PROMPT_FORMATS["tiny"]
QUESTION = "Describe this picture in detail."
GREEDY = GenerationSettings(temperature=0.0, max_new_tokens=80)
WILD = GenerationSettings(temperature=2.0, top_p=1.0, seed=2, max_new_tokens=40)
SHORT = GenerationSettings(temperature=0.0, max_new_tokens=5)
STOP = ("large",)


def served_model() -> MiniGPT4:
    """The embedded model as it is where a server has the language model: embeddings only."""
    overrides = ["precision=float32", "device=cpu", "engine.kind=vllm"]
    overrides.append("engine.urls=[http://127.0.0.1:1]")  # it is not asked
    return build_model(load_config(ROOT / "eval_configs/tiny.yaml", overrides))


def question(
    model: MiniGPT4, picture: str = "harbour", asked: str = QUESTION
) -> tuple[Prompt, dict[str, torch.Tensor]]:
    """A prompt about an example picture, and the picture's visual tokens."""
    image = load_image(ASSETS / f"examples/{picture}.png")
    preset = model.preset
    values = to_pixel_values(image, preset.vision.image_size, preset.mean, preset.std)
    prompt = render(Conversation().with_question(asked, (picture,)), FORMAT)
    return prompt, {picture: model.encode_images(values[None])[0]}


def recorded_model(*, served: bool = True) -> MiniGPT4:
    """The model of the record, without an eye of its own: embeddings only, or whole."""
    queries = len(recorded_question()[1]["harbour"])
    preset = Preset(
        name="recorded",
        vision=VisionConfig(
            architecture="vit",
            image_size=32,
            patch_size=16,
            width=32,
            depth=1,
            heads=2,
            mlp_ratio=1,
        ),
        qformer=QFormerConfig(
            queries=queries, width=32, depth=1, heads=2, intermediate=32, cross_attention_every=1
        ),
    )
    folder = RECORDED_WITH / "language"
    language = (
        load_language_input(inspect_language(folder), dtype=torch.float32)
        if served
        else load_language_model(folder, torch.float32)
    )
    vision, qformer = VisionEncoder(preset.vision), QFormer(preset.qformer, preset.vision.width)
    return MiniGPT4(preset, vision, qformer, language).eval()


def recorded_question() -> tuple[Prompt, dict[str, torch.Tensor]]:
    """The prompt of the record, and its picture's visual tokens."""
    prompt = render(Conversation().with_question(QUESTION, ("harbour",)), FORMAT)
    return prompt, {"harbour": load_file(RECORDED_WITH / "visual_tokens.safetensors")["harbour"]}


def requests(
    model: MiniGPT4, asked: tuple[Prompt, dict[str, torch.Tensor]]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Route and request of everything that is recorded, by a name."""
    language = model.language
    ids = [language.bos_id, *language.encode("The picture shows")]
    by_ids, by_embeds = probe_requests(ids, language.embed(torch.tensor(ids)))
    embeds = model.embed_prompt(*asked)[0]

    def ask(
        settings: GenerationSettings, stop: tuple[str, ...] = FORMAT.stop_strings
    ) -> tuple[str, Mapping[str, Any]]:
        return ANSWER_ROUTE, answer_request(embeds, settings, stop, language.eos_id)

    def empty(rows: int, width: int) -> tuple[str, Mapping[str, Any]]:
        return ANSWER_ROUTE, answer_request(torch.zeros(rows, width), SHORT, (), language.eos_id)

    return {
        "probe by ids": (IDS_ROUTE, by_ids),
        "probe by embeds": (ANSWER_ROUTE, by_embeds),
        "answer": ask(GREEDY),
        "wild answer": ask(WILD),
        "short answer": ask(SHORT),
        "stopped answer": ask(GREEDY, STOP),
        "too long": empty(3000, language.width),
        "too wide": empty(3, 64),
    }


def without_numbers(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose embeddings are told by their shape, their dtype and their rows' means."""
    told = json.loads(json.dumps(request))
    for message in told.get("messages", ()):
        for part in message["content"]:
            tensor = torch.load(io.BytesIO(base64.b64decode(part["data"])), weights_only=True)
            part["data"] = {
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype),
                "row_means": [round(float(mean), 4) for mean in tensor[:64].mean(1)],
            }
    return told


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Everything that was recorded, by its name."""
    content: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return content


def keep_model(visual_tokens: Mapping[str, torch.Tensor]) -> None:
    """Keeps the language model that the server has, and what it was shown."""
    source, target = ASSETS / "tiny/language", RECORDED_WITH / "language"
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(source / "model.safetensors")
    halves = {name: each.half() for name, each in weights.items()}
    save_file(halves, target / "model.safetensors", metadata={"format": "pt"})
    save_file(dict(visual_tokens), RECORDED_WITH / "visual_tokens.safetensors")


def record(url: str, other_url: str | None) -> None:
    """Asks real servers and writes down what they say."""
    exchanges: dict[str, Any] = {}
    model = served_model()
    asked = question(model)
    with httpx.Client(trust_env=False, timeout=120) as client:

        def keep(name: str, response: httpx.Response, request: Mapping[str, Any] | None) -> None:
            exchanges[name] = {
                "path": response.request.url.path,
                "request": request,
                "status": response.status_code,
                "content_type": response.headers.get("content-type", ""),
                "body": response.text,
            }

        for path in ("/health", "/v1/models", "/version"):
            keep(path, client.get(url + path), None)
        for name, (route, request) in requests(model, asked).items():
            content = with_model(request, "tiny")
            json_type = {"Content-Type": "application/json"}
            response = client.post(url + route, content=content, headers=json_type)
            keep(name, response, without_numbers(json.loads(content)))
            if other_url and name == "probe by embeds":
                response = client.post(other_url + route, content=content, headers=json_type)
                keep("without a key", response, None)
                json_type["Authorization"] = "Bearer secret"
                response = client.post(other_url + route, content=content, headers=json_type)
                keep("without embeddings", response, None)
            if name == "answer":
                content = with_model(request, "another")
                response = client.post(url + route, content=content, headers=json_type)
                keep("another model", response, None)
    keep_model(asked[1])
    GOLDEN.write_text(json.dumps(exchanges, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
