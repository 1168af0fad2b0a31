"""How tests ask `/v1` with OpenAI's own client."""

import base64
import io
from typing import Any

import openai
from PIL import Image

from minigpt4.config import GenerationSettings, LimitsConfig
from tests.server.site import NAME, Site
from tests.ui.fake_chat import COLOURS

LIMITS = LimitsConfig(queue_size=1, max_upload_mb=1, max_pictures=3, max_question_characters=100)
SETTINGS = GenerationSettings(temperature=0.0, max_new_tokens=200)


def client_of(site: Site, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{site.url}v1", api_key=key, max_retries=0, timeout=60)


def picture(colour: str = "red", size: tuple[int, int] = (32, 24)) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(file, "PNG")
    return part(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")


def part(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}


def ask(client: openai.OpenAI, *messages: Any, **more: Any) -> Any:
    given = messages or (user(words("What is it?"), picture()),)
    return client.chat.completions.create(**{"model": NAME, "messages": list(given), **more})


def said(completion: Any) -> str:
    return completion.choices[0].message.content
