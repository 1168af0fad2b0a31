"""The one public endpoint: a picture and a question in, the answer as it grows out.

It keeps nothing from call to call. Its questions take their place in the same queue as those of the
page, and its pictures are read by the same rules.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import gradio as gr

from minigpt4.config import GenerationSettings
from minigpt4.errors import EngineError, ImageError, MiniGPT4Error, PromptError
from minigpt4.ui.pictures import read_unshown
from minigpt4.ui.worker import Job, ModelWorker, Waiting

CRASHED = "Something went wrong while answering. Please ask again."
SILENT = "The model ended its answer without a word. Try other words."

log = logging.getLogger(__name__)


class Answers:
    """Answers questions that stand alone.

    Args:
        worker: Owns the model.
        uploads: Folder of the uploaded files; pictures are read from nowhere else.
        settings: How every answer is generated.
    """

    def __init__(self, worker: ModelWorker, uploads: Path, settings: GenerationSettings) -> None:
        self._worker = worker
        self._uploads = uploads
        self._settings = settings

    async def stream(self, picture: object, question: object) -> AsyncGenerator[str, None]:
        """Yield the whole answer so far, whenever it has grown.

        Args:
            picture: The address of an uploaded file, as Gradio's clients send it.
            question: The question.

        Raises:
            MiniGPT4Error: What was sent cannot be used, too many wait, or the model failed.
        """
        if not isinstance(question, str) or not question.strip():
            raise PromptError("Please type a question.")
        path = picture.get("path") if isinstance(picture, dict) else None
        if not isinstance(path, str) or "\0" in path:
            raise ImageError("not_uploaded", "Please upload the picture.")
        read = await asyncio.to_thread(read_unshown, self._uploads, path)
        job = Job(None, question.strip(), (read,), self._settings)
        shown = ""
        async with aclosing(self._worker.answer(job)) as news:
            async for part in news:
                if not isinstance(part, Waiting) and part.text != shown:
                    shown = part.text
                    yield shown
        if not shown:
            raise EngineError(SILENT)


def offer(answers: Answers, limit: int) -> None:
    """Add the endpoint; called within a ``gr.Blocks``.

    Args:
        answers: Answers.
        limit: Questions that Gradio lets in at a time, those of the page among them.
    """

    async def chat(picture: gr.FileData, question: str) -> AsyncIterator[str]:
        """Answer a question about a picture; each part is the whole answer so far."""
        try:
            async with aclosing(answers.stream(picture, question)) as parts:
                async for text in parts:
                    yield text
        except MiniGPT4Error as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            log.exception("A question to the endpoint could not be answered.")
            raise gr.Error(CRASHED, print_exception=False) from error

    gr.api(chat, api_name="chat", concurrency_id="model", concurrency_limit=limit)
