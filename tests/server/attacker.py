"""What an attacker has: words of the page's own language, and canaries that tell if it worked."""

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from gradio_client.utils import apply_diff

SECRET = "canary-4f1d77"
JOIN, UPLOAD, CALL = "gradio_api/queue/join", "gradio_api/upload", "gradio_api/call/chat"
META = {"_type": "gradio.FileData"}


@dataclass
class Canary:
    """A web server that nobody should ask, and a picture that nobody should see."""

    url: str
    file: Path
    asked: list[str]


def events_of(web: httpx.Client) -> dict[str, int]:
    """Return the numbers of the page's events by the type of their first input, "" for none."""
    config = web.get("config").json()
    names = {part["id"]: part["type"] for part in config["components"]}
    return {
        names[each["inputs"][0]] if each["inputs"] else "": each["id"]
        for each in reversed(config["dependencies"])
    }


def question(web: httpx.Client, *files: Any, text: str = "What?") -> dict[str, Any]:
    config = web.get("config").json()
    event = next(
        each for each in config["dependencies"] if each["id"] == events_of(web)["multimodaltextbox"]
    )
    parts = {part["id"]: part for part in config["components"]}
    others = [parts[number]["props"].get("value") for number in event["inputs"][1:]]
    session = os.urandom(8).hex()
    values = [{"text": text, "files": list(files)}, *others]
    return {"data": values, "fn_index": event["id"], "session_hash": session}


def told(web: httpx.Client, session: str, seconds: float = 100) -> str:
    """Return what the server sends to a session, up to the end of its event.

    Each line stands as it came, and after all of them what they amount to: Gradio sends only what
    has changed since the line before.
    """
    text, deadline = "", time.monotonic() + seconds
    shown: list[Any] = []
    with web.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as lines:
        for line in lines.iter_lines():
            text += f"{line}\n"
            if "process_generating" in line:
                data = json.loads(line.removeprefix("data: "))["output"]["data"]
                shown = list(map(apply_diff, shown, data)) if shown else data
            if "process_completed" in line or time.monotonic() > deadline:
                break
    return text + json.dumps(shown)


def send(web: httpx.Client, message: dict[str, Any]) -> str:
    """Send a message as the page does, and return all that comes back."""
    joined = web.post(JOIN, json=message)
    if joined.status_code != 200:
        return f"{joined.status_code}: {joined.text}"
    return told(web, message["session_hash"])


def raw_answer(web: httpx.Client, text: str, seconds: float = 60) -> bytes:
    address = (web.base_url.host, web.base_url.port)
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(text.encode("latin-1"))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer
