"""One process, one port: the page, `/v1`, health and metrics, and how they are started.

Gradio's own `launch` serves all of it, for Spaces work with nothing else: the routes here go into
its application before its own, and what guards them stands in front of both.
"""

import errno
import logging
import socket
import sys
import traceback
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount

from minigpt4.api import find_config
from minigpt4.checkpoints.saved import CONFIG_FILE
from minigpt4.config import Config, absolute, check_files, load_config
from minigpt4.errors import ConfigError, MiniGPT4Error
from minigpt4.references import parse_reference
from minigpt4.server.api_keys import VARIABLE, ApiKeys
from minigpt4.server.auth import VARIABLE as ACCOUNTS
from minigpt4.server.auth import Accounts
from minigpt4.server.guards import is_on, is_public, middleware
from minigpt4.server.health import health_routes
from minigpt4.server.logs import LoggedWorker
from minigpt4.server.metrics import CountRequests, HttpCounts, metrics_routes
from minigpt4.server.openai_routes import openai_app
from minigpt4.server.shutdown import StopSignals, stop_serving
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.worker import ModelWorker
from minigpt4.ui.zero_gpu import ZeroGpuChat, on_zero_gpu, zero_gpu_lender


def app_options(
    worker: ModelWorker,
    config: Config,
    name: str,
    host: str,
    keys: ApiKeys,
    *,
    events: Container[object] | None = None,
    accounts: Accounts | None = None,
    shared: bool = False,
) -> dict[str, Any]:
    """Return what `Blocks.launch` is told as `app_kwargs`: what stands beside the page and before.

    Args:
        worker: Owns the model.
        config: What is offered, and to whom.
        name: What `/v1` calls the model.
        host: The address to listen on; guards depend on who can reach it.
        keys: Who may use `/v1`.
        events: Numbers of the page's events; others are refused. None lets every number through.
        accounts: Who may use `/v1` if there are no keys; none for everybody.
        shared: Whether a public link leads here.
    """
    from minigpt4.ui.app import upload_folder  # noqa: PLC0415 - Gradio takes seconds to import

    registry = CollectorRegistry()
    counts = HttpCounts(registry)
    routes: list[BaseRoute] = [
        *health_routes(worker),
        *metrics_routes(worker, config.server, keys, registry, shared=shared),
    ]
    if config.server.openai:
        routes.append(Mount("/v1", openai_app(worker, config, name, keys)))
    return {
        "routes": routes,
        "middleware": [
            Middleware(CountRequests, counts=counts),
            *middleware(
                config,
                host,
                uploads=upload_folder(),
                events=events,
                accounts=None if keys else accounts,
                shared=shared,
            ),
        ],
    }


def serve(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
) -> int:
    """Serve the page and all that stands beside it until the process is told to stop.

    Args:
        path: A configuration's file, or as text also its name.
        overrides: Settings that win over the file's.
        host: Address to listen on.
        port: Port to listen on.
        share: Whether to open a public link through Gradio's servers too.

    Returns:
        0 after an interrupt, 143 after SIGTERM, 1 if the page or the model cannot start, 2 for a
        wrong configuration.
    """
    # Ours tell what is being loaded; the libraries' own notes would drown it.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("minigpt4").setLevel(logging.INFO)
    try:
        file = find_config(path)
        config = load_config(file, overrides)
        check_files(config)
        config = absolute(config)
        name = served_name(config, path, file)
        check_address(host, port)
        keys = ApiKeys.from_environment()
        public = is_public(host, shared=share)
        accounts = Accounts.from_environment(public=public)
        lend = zero_gpu_lender(config) if on_zero_gpu() else None  # before anything brings torch
    except MiniGPT4Error as error:
        _say(str(error))
        return 2 if isinstance(error, ConfigError) else 1

    # Gradio takes seconds to import.
    from minigpt4.ui.app import (  # noqa: PLC0415
        OwnWorkingDirectory,
        launch_options,
        open_page,
    )
    from minigpt4.ui.visitor import event_scope  # noqa: PLC0415

    def load() -> PictureChat:
        from minigpt4.build import build_chat  # noqa: PLC0415 - brings torch, in its own thread

        chat = build_chat(config)
        return chat if lend is None else ZeroGpuChat(chat, lend)

    # Before the page opens: Gradio serves files of the working directory. All paths are absolute.
    folder = OwnWorkingDirectory()
    worker = LoggedWorker(
        load,
        config.limits.queue_size,
        config.engine.max_answers,
        page_scope=event_scope,
        enabled=is_on(config.server.log, otherwise=public),
        texts=config.server.log_texts,
    )
    try:
        page = open_page(worker, config, Path(folder.name))
    except ConfigError as error:
        _say(str(error))
        folder.cleanup()
        return 2
    loading = worker.start()
    with StopSignals() as stop:
        try:
            if lend is not None:
                loading.result()  # ZeroGPU takes over at the launch what is loaded by then
            _, url, shared_url = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                prevent_thread_lock=True,
                auth=accounts.admits if accounts else None,
                app_kwargs=app_options(
                    worker,
                    config,
                    name,
                    host,
                    keys,
                    events=page.fns,
                    accounts=accounts,
                    shared=share,
                ),
                **launch_options(config),
            )
            _say(f"The page is open on {url}{f' and {shared_url}' if shared_url else ''}")
            if config.server.openai:
                _say(f"Programs ask at {url}v1{'' if keys else f', without a key ({VARIABLE})'}")
            if public and not accounts:
                _say(f"Whoever reaches it may use it. Give accounts in {ACCOUNTS}: SECURITY.md.")
            if stop.wait_for(loading):
                _say("The model is ready. Press Ctrl+C to stop.")
                stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever keeps page or model from starting
            _say(reason(error, port))
            return 1
        finally:
            stop_serving(worker, page, config.server.grace_seconds, _say)
            folder.cleanup()
            stop.leave_if(worker.load_state == "loading")
    return stop.exit_code


def served_name(config: Config, path: Path | str, file: Path) -> str:
    """What `/v1` calls the model of a configuration.

    Args:
        config: May choose a name itself.
        path: What the host asked for, as `serve` takes it.
        file: The configuration that this means. A saved model is called by its place, for all of
            them call this file the same.
    """
    if config.server.model_name:
        return config.server.model_name
    if file.name != CONFIG_FILE:
        return file.stem
    return parse_reference(str(path)).repository or file.resolve().parent.name


def check_address(host: str, port: int) -> None:
    """Find out whether a server may listen here, before anything heavy is done for it.

    Raises:
        ConfigError: There is no such port.
        MiniGPT4Error: Somebody else listens, or this machine has no such address.
    """
    if not 1 <= port <= 65535:
        raise ConfigError([f"--port: {port} given; expected a port from 1 to 65535."])
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose last connections are ending is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MiniGPT4Error(_in_use(port)) from error
        message = f"Nothing can listen on port {port} of {host}: {error.strerror}."
        raise MiniGPT4Error(f"{message} Choose others with --host and --port.") from error


def reason(error: Exception, port: int) -> str:
    """Why the server could not start, in a sentence; what nobody foresaw comes with its trace."""
    if isinstance(error, OSError) and "Cannot find empty port" in str(error):  # Gradio's words
        return _in_use(port)
    if isinstance(error, MiniGPT4Error):
        return str(error)
    told = f"The server could not start: {type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return told
    return "".join([*traceback.format_exception(error), told])  # a bug, or too little memory


def _in_use(port: int) -> str:
    return f"Port {port} is in use. Stop what uses it, or choose another with --port."


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
