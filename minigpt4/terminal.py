"""The model in a terminal: one question, or a chat."""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from minigpt4.api import LoadedChat, OpenConversation, Picture
from minigpt4.conversation import clean_text
from minigpt4.errors import MiniGPT4Error

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

COMMANDS = """\
  /picture PATH   attach a picture to the next question
  /new            forget everything and start a new chat
  /undo           take the last question and its answer back
  /help           these lines
  /quit           leave (so does Ctrl-D); Ctrl-C stops an answer"""


def say(text: str) -> None:
    """Writes a line for the person; standard output is kept for answers."""
    sys.stderr.write(f"{clean_text(text)}\n")
    sys.stderr.flush()


def ask(chat: LoadedChat, pictures: Sequence[Picture], question: str, *, as_json: bool) -> None:
    """Writes the answer to standard output: while it grows, or as one line of JSON at the end.

    Raises:
        MiniGPT4Error: If a picture or the question cannot be used, or the model fails.
    """
    conversation = chat.conversation(*pictures)
    if not as_json:
        _write_answer(conversation, question, threading.Event())
        return
    *_, last = conversation.parts(question)
    told = {
        "answer": last.text,
        "tokens": last.tokens,
        "seconds": round(last.seconds, 3),
        "finish": last.finish,
        "notice": last.notice,
    }
    sys.stdout.write(f"{json.dumps(told, ensure_ascii=False)}\n")


def talk(
    chat: LoadedChat, pictures: Sequence[Picture], read_line: Callable[[str], str] = input
) -> None:
    """Chats until the person leaves.

    Args:
        chat: Answers.
        pictures: What the first question is about.
        read_line: Shows a prompt and returns what was typed; EOFError ends the chat.

    Raises:
        MiniGPT4Error: If one of the first pictures cannot be used. What goes wrong later is told,
            and the chat goes on.
    """
    conversation = chat.conversation(*pictures)
    say(f"Ask about your pictures. Commands:\n{COMMANDS}")
    prompt = "> " if sys.stdin.isatty() else ""  # which `input` would write among the answers
    while True:
        try:
            line = read_line(prompt).strip()
        except EOFError:
            say("")
            return
        except KeyboardInterrupt:
            say("\n/quit leaves.")
            continue
        if line == "/quit":
            return
        if not line:
            continue
        try:
            conversation = _turn(chat, conversation, line)
        except MiniGPT4Error as error:
            say(str(error))
        except KeyboardInterrupt:
            say("Stopped.")


def _turn(chat: LoadedChat, conversation: OpenConversation, line: str) -> OpenConversation:
    """Does what one line says; returns the conversation that goes on."""
    command, _, rest = line.partition(" ")
    if command == "/new":
        say("A new chat.")
        return chat.conversation()
    if command == "/picture":
        path = rest.strip().strip("'\"")
        if not path:
            say("Which one? For example: /picture photo.png")
            return conversation
        conversation.attach(path)
        say(f"{path} is attached to your next question.")
    elif command == "/undo":
        say(f"Taken back: {conversation.undo()}")
    elif command == "/help":
        say(COMMANDS)
    elif command.startswith("/"):
        say(f"There is no command {command}. Commands:\n{COMMANDS}")
    else:
        cancel = threading.Event()
        with _interrupts_to(cancel):
            last = _write_answer(conversation, line, cancel)
        if last.finish == "cancelled":
            say("Stopped; the answer so far is kept.")
        elif last.finish == "length":
            say("The answer was cut at its longest; --max-new-tokens allows more.")
    return conversation


def _write_answer(
    conversation: OpenConversation, question: str, cancel: threading.Event
) -> "AnswerPart":
    """Writes an answer while it grows; returns its last part."""
    shown = 0
    for part in conversation.parts(question, cancel):
        text = part.text.rstrip()
        # A control character in an answer could command the terminal.
        sys.stdout.write(clean_text(text[shown:]))
        sys.stdout.flush()
        shown = max(shown, len(text))
    sys.stdout.write("\n")
    sys.stdout.flush()
    if part.notice:
        say(part.notice)
    return part


@contextmanager
def _interrupts_to(cancel: threading.Event) -> Iterator[None]:
    """Lets Ctrl-C set an event; pressed a second time, it interrupts as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python tells only the main thread of signals
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
