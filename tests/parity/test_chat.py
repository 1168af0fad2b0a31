"""A whole chat, from a configuration and picture files to words, against the released code."""

import pytest
import yaml

from minigpt4.build import build_chat
from minigpt4.chat import Chat
from minigpt4.config import GenerationSettings, load_config
from tests.parity.golden import golden
from tests.parity.test_language import CONVERSATIONS

RUN = "greedy_rp1.05"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    folder, heads = golden().folder, golden().heads
    model = {
        "preset": "eva_vit_g",
        "prompt_format": "vicuna_v0",
        "vision": str(folder / "eva_vit.pth"),
        "qformer": str(folder / "blip2_pretrained.pth"),
        "language_model": str(folder / "llama"),
        "projection": str(folder / "pretrained_minigpt4.pth"),
        "image_size": golden().facts["dims"]["image_size"],
        "vision_heads": heads.vision,
        "qformer_heads": heads.qformer,
    }
    path = tmp_path_factory.mktemp("chat") / "golden.yaml"
    path.write_text(yaml.safe_dump({"model": model, "device": "cpu", "precision": "float32"}))
    return build_chat(load_config(path))


def one_question(name: str) -> bool:
    return [kind for kind, _ in golden().conversations[name]["steps"]].count("ask") == 1


@pytest.mark.parametrize(
    "name", [name for name in CONVERSATIONS if one_question(name) and "nq" not in name]
)
def test_first_answer_of_a_chat(chat: Chat, name: str) -> None:
    record = golden().conversations[name]
    session = chat.new_session()
    for kind, value in record["steps"]:
        if kind == "img":
            session = session.attach(chat.encode_image(golden().folder / golden().file_name(value)))
    question = record["steps"][-1][1]
    settings = GenerationSettings(
        max_new_tokens=record[RUN]["max_new_tokens"], temperature=0.0, repetition_penalty=1.05
    )
    *_, last = chat.stream_answer(session, question, settings)
    ids = golden().arrays[f"{name}_{RUN}_ids"].tolist()
    assert last.text == golden().language.decode(ids).strip()
    assert last.tokens == record[RUN]["new_tokens"]
