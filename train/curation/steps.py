"""What the commands of `train/curate.py` do; `train.curation.options` has their options."""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from train.curation.at_once import as_they_end
from train.curation.errors import CurationError, RowError, UnansweredError
from train.curation.folder import Folder, digest, now
from train.curation.ledger import Fields, Ledger

_MOST_UNANSWERED = 10
"""So many rows in a row that an endpoint failed at, and it is out of order."""


def say(text: str) -> None:
    """Writes a line for the person who runs this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def describe(given: argparse.Namespace) -> int:
    """The stage-1 model describes the pictures.

    Returns:
        1 if some could not be described, else 0.
    """
    from minigpt4.api import find_config, load
    from minigpt4.batch import in_flight, with_many_answers
    from minigpt4.config import check_files, load_config
    from train.curation.sources import pictures_of

    folder = Folder(given.folder)
    overrides = list(given.overrides)
    if given.projection:
        # The other projections of a configuration are of no use here, and cost memory.
        overrides += [f"model.projection={given.projection}", "model.other_projections=[]"]
    overrides = with_many_answers(overrides)
    config = load_config(find_config(given.cfg_path), overrides)
    check_files(config)  # before PyTorch, which takes seconds to import
    found = pictures_of(given.pictures, folder.path / "shards")
    pictures = _first(
        tqdm(found, "looking", unit="picture", disable=None, leave=False), given.number
    )

    from train.curation.describe import Asked, Describer, model_record, still_to_describe

    asked = Asked(prompt=_prompt(given, "describe"), enough_tokens=given.enough_tokens)
    rows = folder.described.rows()
    waiting, twice = still_to_describe(pictures, rows)
    settings = {"model": model_record(config), **asdict(asked)}
    run = folder.begin("describe", folder.described, settings, {"config": str(given.cfg_path)})
    for name in twice:
        say(f"{name}: this name stands for several pictures; only the first is described.")
    if waiting:
        with ExitStack() as opened:
            chat = opened.enter_context(load(given.cfg_path, overrides, given.device))
            stop = threading.Event()
            describer = Describer(chat, asked, stop)

            def work(picture: Any) -> Fields:  # noqa: ANN401 - a Picture, which is imported late
                return describer.describe(picture)

            def begun(picture: Any) -> Fields:  # noqa: ANN401 - as above
                return {"id": picture.id, "picture": picture.place}

            _work(
                folder.described,
                waiting,
                work,
                begun,
                run=run,
                at_once=in_flight(chat.config),
                stop=stop,
                unit="picture",
            )
    return _tell(folder, folder.described, f"python train/curate.py repair {folder.path} --rules")


def repair(given: argparse.Namespace) -> int:
    """A language model, or rules, take the faults out of the texts.

    Returns:
        1 if some could not be repaired, else 0.
    """
    from train.curation.endpoint import (
        ADDRESS_VARIABLE,
        KEY_VARIABLE,
        Endpoint,
        EndpointSettings,
    )
    from train.curation.repair import (
        RULES_VERSION,
        Repair,
        by_endpoint,
        by_rules,
        still_to_repair,
    )

    folder = Folder(given.folder)
    described = _needed(folder.described, "describe")
    waiting, _ = still_to_repair(described.values(), folder.repaired.rows())
    stop = threading.Event()
    settings: Fields
    notes: Fields
    work: Repair

    def begun(row: Fields) -> Fields:
        return {"id": row["id"], "of": digest(row["text"])}

    with ExitStack() as opened:
        if given.rules:
            work, at_once = by_rules, 1
            settings, notes = {"rules": RULES_VERSION}, {}
        else:
            url = given.endpoint or os.environ.get(ADDRESS_VARIABLE, "")
            _check_endpoint(url, given.model)
            asked = EndpointSettings(
                url=url,
                model=given.model,
                temperature=given.temperature,
                tries=given.tries,
                first_pause=given.first_pause,
                timeout=given.timeout,
                per_minute=given.per_minute,
            )
            prompt, at_once = _prompt(given, "repair"), given.at_once
            key = os.environ.get(KEY_VARIABLE, "").strip()  # of a file's line break
            work = by_endpoint(opened.enter_context(Endpoint(asked, key, stop)), prompt)
            settings = {"model": asked.model, "prompt": prompt, "temperature": asked.temperature}
            notes = {"endpoint": asked.shown_url, "at_once": at_once}
        run = folder.begin("repair", folder.repaired, settings, notes)
        _work(
            folder.repaired,
            waiting,
            work,
            begun,
            run=run,
            at_once=at_once,
            stop=stop,
            unit="text",
        )
    return _tell(folder, folder.repaired, f"python train/curate.py filter {folder.path}")


def filter_rows(given: argparse.Namespace) -> int:
    """Says of each text whether it is fit to learn from.

    Returns:
        0.
    """
    from train.curation.filters import FilterSettings, reasons_against

    folder = Folder(given.folder)
    _needed(folder.described, "describe")
    settings = FilterSettings(
        min_words=given.min_words,
        max_words=given.max_words,
        most_repeated=given.most_repeated,
        english=given.language == "english",
    )
    captions = list(folder.captions())
    unrepaired = [each.id for each in captions if each.repaired is None]
    if unrepaired and not given.unrepaired:
        message = (
            f"{len(unrepaired):,} texts are not repaired yet, such as that of {unrepaired[0]}. Run"
            f" `python train/curate.py repair {folder.path}` first, or add --unrepaired."
        )
        raise CurationError(message)
    # All anew, for it takes seconds: other settings are no reason to begin elsewhere.
    run = folder.begin("filter", None, asdict(settings), {})
    rows = []
    for each in tqdm(captions, "filtering", unit="text", disable=None):
        reasons = list(reasons_against(each.text, each.described["text"], settings))
        if each.repaired is not None and "failed" in each.repaired:
            reasons.insert(0, "not repaired")
        row = {"id": each.id, "of": digest(each.text), "kept": not reasons, "reasons": reasons}
        rows.append({**row, "time": now(), "run": run})
    folder.filtered.replace(rows)
    _tell(folder, folder.filtered, f"python train/curate.py review {folder.path}")
    return 0


def review(given: argparse.Namespace) -> int:
    """Opens the page on which a person decides.

    Returns:
        0.
    """
    from train.curation.review_page import serve
    from train.curation.reviewing import Review

    folder = Folder(given.folder)
    _needed(folder.filtered, "filter")
    with folder.reviewed.appending(lasting=True) as rows:
        everything = Review(folder, rows, reviewer=given.name)
        serve(everything, given.port, say)
    _tell(folder, folder.reviewed, f"python train/curate.py export {folder.path}")
    return 0


def export(given: argparse.Namespace) -> int:
    """Writes the folder that stage 2 reads.

    Returns:
        1 if some could not be written, else 0.
    """
    from train.curation.export import chosen
    from train.curation.export import export as write

    folder = Folder(given.folder)
    _needed(folder.filtered, "filter")
    target: Path = given.to or folder.path / "stage2"
    rows = chosen(folder.captions(), unreviewed=given.unreviewed)
    if not rows and not given.unreviewed and not folder.reviewed.rows():
        message = (
            f"Nobody has reviewed {folder.path} yet. Run `python train/curate.py review"
            f" {folder.path}`, or add --unreviewed to export all that the filter kept."
        )
        raise CurationError(message)
    exported = write(folder, rows, target)
    for name, reason in exported.lost:
        say(f"{name}: not written: {reason}")
    say(f"{exported.written:,} pictures with their texts are in {target}. Train on them:")
    say(f"  python train/run.py --stage 2 --data {target}")
    return 1 if exported.lost else 0


def status(given: argparse.Namespace) -> int:
    """Says how far a curation is.

    Returns:
        0.
    """
    folder = Folder(given.folder)
    _needed(folder.described, "describe")
    for line in folder.told():
        say(line)
    return 0


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "describe": describe,
    "repair": repair,
    "filter": filter_rows,
    "review": review,
    "export": export,
    "status": status,
}


def _work(
    ledger: Ledger,
    waiting: Sequence[Any],
    work: Callable[[Any], Fields],
    begun: Callable[[Any], Fields],
    *,
    run: str,
    at_once: int,
    stop: threading.Event,
    unit: str,
) -> None:
    """Does the rows that are left, and writes each when it ends; a failed one with its reason."""
    before = ledger.rows()
    unanswered = failed = 0
    ended = as_they_end(waiting, work, at_once, stop)
    with (
        ledger.appending() as rows,
        tqdm(total=len(waiting), unit=unit, disable=None) as progress,
        closing(ended),
    ):
        for each, outcome in ended:
            unanswered = unanswered + 1 if isinstance(outcome, UnansweredError) else 0
            if isinstance(outcome, RowError):
                failed += 1
                row = {**begun(each), "failed": str(outcome), "time": now(), "run": run}
                with progress.external_write_mode():
                    say(f"{row['id']}: {outcome}")
                if _same_failure(before.get(row["id"]), row):
                    row = {}
            else:
                row = {**begun(each), **outcome, "run": run}
            if row:
                rows.add(row)
            progress.set_postfix(failed=failed, refresh=False)
            progress.update()
            if unanswered == _MOST_UNANSWERED:
                message = (
                    f"The endpoint failed at {unanswered} rows one after the other, the last time"
                    f" with: {outcome}. The same command goes on when it answers again."
                )
                raise CurationError(message)


def _same_failure(before: Fields | None, row: Fields) -> bool:
    """Whether a row has failed for the same reason before; it need not be written twice."""
    return before is not None and before.get("failed") == row["failed"]


def _first(pictures: Iterable[Any], number: int | None) -> list[Any]:
    return list(islice(pictures, number))


def _prompt(given: argparse.Namespace, step: str) -> str:
    path: Path = given.prompt_file or _PROMPTS / f"{step}.txt"
    if given.prompt is not None:
        return str(given.prompt)
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CurationError(f"The prompt {path} cannot be read: {error}.") from error


_PROMPTS = Path(__file__).parents[2] / "prompts/curation"


def _needed(ledger: Ledger, step: str) -> dict[str, Fields]:
    rows = ledger.rows()
    if not rows:
        folder = ledger.path.parent
        message = f"There is no {ledger.path}. Run `python train/curate.py {step} {folder}` first."
        raise CurationError(message)
    return rows


def _check_endpoint(url: str, model: str | None) -> None:
    if not url:
        message = (
            "Who repairs? Name a server with --endpoint http://127.0.0.1:8000/v1 or the variable"
            " OPENAI_BASE_URL (its key belongs into OPENAI_API_KEY), or choose --rules, which need"
            " no language model."
        )
        raise CurationError(message)
    if not url.startswith(("http://", "https://")):
        raise CurationError(f"--endpoint: {url!r} given; expected such as https://host/v1.")
    from train.curation.endpoint import fault_of

    if fault := fault_of(url):
        raise CurationError(f"--endpoint: {fault}; expected such as https://host/v1.")
    if not model:
        raise CurationError("--model: none given; name one of the endpoint's models.")


def _tell(folder: Folder, ledger: Ledger, command: str) -> int:
    for line in folder.told():
        say(line)
    failed = sum("failed" in row for row in ledger.rows().values())
    if failed:
        say(f"{failed:,} rows of {ledger.path} failed; the same command tries them again.")
    say("Go on with:")
    say(f"  {command}")
    return 1 if failed else 0
