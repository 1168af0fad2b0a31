"""Open the page in which people talk about pictures.

    python demo.py
    python demo.py --cfg-path eval_configs/tiny.yaml --set generation.temperature=0.7

The page opens at once and says "loading" until the weights are in. As the app file of a Hugging
Face Space it needs no argument: there the host is 0.0.0.0, and the variable MINIGPT4_CONFIG may
name another configuration.
"""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

DEFAULT_CONFIG = Path(__file__).resolve().parent / "eval_configs" / "tiny.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is interrupted.

    Returns:
        0 after an interrupt, 1 if the page or the model cannot start, 2 for a wrong configuration.
    """
    given = _parse(arguments)
    # Ours tell what is being loaded; the libraries' own notes would drown it.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("minigpt4").setLevel(logging.INFO)
    from minigpt4.config import absolute, check_files, load_config
    from minigpt4.errors import ConfigError

    overrides = [*given.overrides, *([f"device={given.device}"] if given.device else [])]
    try:
        config = load_config(given.cfg_path, overrides)
        check_files(config)
        config = absolute(config)
    except ConfigError as error:
        _say(str(error))
        return 2

    from minigpt4.ui.app import launch_options, leave_working_directory, open_page
    from minigpt4.ui.contract import PictureChat
    from minigpt4.ui.worker import ModelWorker

    def load() -> PictureChat:
        from minigpt4.build import build_chat  # brings torch; runs in the model's thread

        return build_chat(config)

    # Before the page opens: Gradio serves files of the working directory. All paths are absolute.
    folder = leave_working_directory()
    worker = ModelWorker(load, config.limits.queue_size)
    page = open_page(worker, config)
    loading = worker.start()
    try:
        _, url, shared_url = page.launch(
            server_name=given.host,
            server_port=given.port,
            share=given.share,
            prevent_thread_lock=True,
            **launch_options(config),
        )
        _say(f"The page is open on {url}{f' and {shared_url}' if shared_url else ''}")
        loading.result()
        _say("The model is ready. Press Ctrl+C to stop.")
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # noqa: BLE001 - whatever keeps the page or the model from starting
        _say(_reason(error, given.port))
        return 1
    finally:
        page.close(verbose=False)
        worker.close()
        folder.cleanup()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Open the page in which people talk about pictures."
    )
    parser.add_argument(
        "--cfg-path",
        type=Path,
        default=Path(os.environ.get("MINIGPT4_CONFIG") or DEFAULT_CONFIG),
        help="configuration of the demo, a YAML file (%(default)s)",
    )
    in_space = "SPACE_ID" in os.environ
    everyone = "0.0.0.0"  # noqa: S104 - a Space's proxy comes from outside its container
    host = everyone if in_space else "127.0.0.1"
    parser.add_argument("--host", default=host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port (%(default)s)")
    parser.add_argument(
        "--share",
        action="store_true",
        help="also open a public link through Gradio's servers (off)",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps (the file's)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="override a setting of the configuration; may be given several times",
    )
    return parser.parse_args(arguments)


def _reason(error: Exception, port: int) -> str:
    if isinstance(error, OSError) and "Cannot find empty port" in str(error):  # Gradio's words
        return f"Port {port} is in use. Stop what uses it, or choose another with --port."
    from minigpt4.errors import MiniGPT4Error

    if isinstance(error, MiniGPT4Error):
        return str(error)
    return f"The page could not start: {type(error).__name__}: {error}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
