"""What gets installed: every package pinned by version and hash, and listed with its licence."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.torture.promise import ROOT, Finding

LOCK = ROOT / "requirements.lock"
LICENCES = ROOT / "THIRD_PARTY.md"


def locked(path: Path = LOCK) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of every package of the lock, by its name."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", path.read_text(encoding="utf-8"))
    found = {}
    for entry in entries:
        pinned = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", entry)
        if pinned:
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
            found[canonicalize_name(pinned[1])] = (pinned[2], hashes)
    return found


def required(path: Path) -> dict[str, Requirement]:
    """What a requirements file asks for, by name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    wanted = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(each.name): each for each in wanted}


def measure(share: float) -> Finding:
    """Holds the lock against the requirements, and the list of licences against the lock."""
    del share
    pins = locked()
    wanted = required(ROOT / "requirements.txt")
    chosen = required(ROOT / "constraints.txt")
    wrong = [name for name in wanted if name not in pins]
    wrong += [name for name, (_, hashes) in pins.items() if hashes == 0]
    wrong += [
        name
        for name, (version, _) in pins.items()
        if not all(
            each[name].specifier.contains(version, prereleases=True)
            for each in (wanted, chosen)
            if name in each
        )
    ]
    listed = {
        canonicalize_name(row.split("|")[1].strip())
        for row in LICENCES.read_text(encoding="utf-8").splitlines()
        if row.startswith("|")
    }
    unlisted = [name for name in wanted if name not in listed]
    figure = f"{len(pins)} packages pinned by hash, {len(wrong)} wrong, {len(unlisted)} unlisted"
    return Finding(not wrong and not unlisted and len(pins) > 40, figure)
