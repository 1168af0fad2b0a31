"""Open the page in which people talk about pictures.

    python demo.py
    python demo.py --cfg-path eval_configs/tiny.yaml --set generation.temperature=0.7

The page opens at once and says "loading" until the weights are in; programs ask the same server
at /v1 (docs/api.md). `python -m minigpt4 serve` does the same. As the app file of a Hugging Face
Space it needs no argument: there the host is 0.0.0.0, and the variable MINIGPT4_CONFIG may name
another configuration.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

DEFAULT_CONFIG = Path(__file__).resolve().parent / "eval_configs" / "tiny.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page, and what stands beside it, until the process is told to stop.

    Returns:
        0 after an interrupt, 143 after SIGTERM, 1 if the page or the model cannot start, 2 for a
        wrong configuration.
    """
    given = _parse(arguments)
    from minigpt4.server.app import serve

    overrides = [*given.overrides, *([f"device={given.device}"] if given.device else [])]
    return serve(given.cfg_path, overrides, host=given.host, port=given.port, share=given.share)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Open the page in which people talk about pictures."
    )
    parser.add_argument(
        "--cfg-path",
        default=os.environ.get("MINIGPT4_CONFIG") or str(DEFAULT_CONFIG),
        help=(
            "a YAML file, the name of one in eval_configs, the folder of a saved model, or one on"
            " the Hugging Face hub as OWNER/NAME@COMMIT (%(default)s)"
        ),
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


if __name__ == "__main__":
    sys.exit(main())
