"""Shards of pictures and captions: each fault counted once, and every sample a function of its number."""

import io
import json
import random
import tarfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.picture_files import encode
from train import run
from train.errors import TrainingError
from train.run_folder import RunFolder, read_lines
from train.samples import training_seed
from train.settings import ShardSource, ShardsSettings
from train.shards import LostError, expand, index_shard
from train.web_data import WebData, _pattern

FIRST = training_seed(1, 0)


def picture(number: int) -> bytes:
    return encode(Image.new("RGB", (24, 18), ((number * 37) % 256, number % 256, 90)), "PNG")


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_shard(path: Path, samples: int, first: int = 0, promised: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number in range(first, first + samples):
            add(archive, f"{number:09}.png", picture(number))
            told = {"caption": f"A  picture, number {number}!", "url": "https://example.org"}
            add(archive, f"{number:09}.json", json.dumps(told).encode())
            add(archive, f"{number:09}.txt", b"the other caption")
    if promised is not None:
        stats = path.with_name(f"{path.stem}_stats.json")
        stats.write_text(json.dumps({"count": 99, "successes": promised}))
    return path


def settings(*sources: tuple[str, int], most_lost: float = 0.01) -> ShardsSettings:
    return ShardsSettings(
        sources=tuple(ShardSource(urls=urls, share=share) for urls, share in sources),
        most_lost=most_lost,
    )


def captions(data: WebData, numbers: range) -> list[str]:
    return [data.sample_of(FIRST + n).conversation.turns[0].answer for n in numbers]


def number_of(caption: str) -> int:
    return int(caption.rpartition(" ")[2])


# One shard


def test_a_sample_is_a_picture_and_its_cleaned_caption(tmp_path: Path) -> None:
    shard = index_shard(write_shard(tmp_path / "0.tar", 3))
    assert [entry.key for entry in shard.entries] == ["000000000", "000000001", "000000002"]
    image, caption = shard.read(shard.entries[2])
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (24, 18), (74, 2, 90))
    assert caption == "a picture, number 2"
    assert not shard.lost


def test_a_cut_shard_keeps_what_comes_before_and_counts_the_rest(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", 10, promised=10)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    shard = index_shard(path)
    kept = len(shard.entries)
    assert 3 <= kept < 10
    assert shard.lost == {"shard: fewer samples than its stats promise": 10 - kept}
    (tmp_path / "0_stats.json").unlink()
    assert index_shard(path).lost == {"shard: damaged, what follows is lost": 1}


def test_a_flipped_header_byte_is_noticed(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", 10, promised=10)
    whole = bytearray(path.read_bytes())
    fourth = index_shard(path).entries[4].picture
    whole[fourth.start - 512 + 150] ^= 1  # the checksum in the member's header
    path.write_bytes(whole)
    shard = index_shard(path)
    assert len(shard.entries) == 4
    assert shard.lost == {"shard: fewer samples than its stats promise": 6}


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """Wherever a file ends too early, also between two members."""
    path = write_shard(tmp_path / "0.tar", 4)
    whole = path.read_bytes()
    end = max(e.caption.start + e.caption.size for e in index_shard(path).entries)
    for length in [*range(600, end, 499), *range(512, end, 512)]:
        path.write_bytes(whole[:length])
        try:
            assert index_shard(path).lost, length
        except LostError as error:
            assert error.cause in ("shard: no tar file", "shard: empty")  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "shard: no tar file"),
        (b"no tar at all" * 100, "shard: no tar file"),
        (bytes(10_240), "shard: empty"),
    ],
)
def test_what_is_no_shard(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    with pytest.raises(LostError) as caught:
        index_shard(path)
    assert caught.value.cause == cause


def test_files_of_a_mac_beside_the_samples_are_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, ".DS_Store", b"of a folder")
        for name in ("a.png", "a.txt"):
            add(archive, f"./._{name}", b"of a file")
            add(archive, f"./{name}", picture(1) if name == "a.png" else b"a caption")
    shard = index_shard(path)
    assert [shard.read(entry)[1] for entry in shard.entries] == ["a caption"]
    assert not shard.lost


def test_damaged_headers_raise_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("é.png", "b.txt"):
            add(archive, name, picture(1))
    whole = path.read_bytes()
    chance = random.Random(3)
    for _ in range(600):
        data = bytearray(whole)
        block = 512 * chance.randrange(len(data) // 512)
        for place in chance.choices((*range(124, 136), 156), k=chance.choice((1, 3))):  # size, kind
            data[block + place] = chance.choice((0x80, 0xFF, *b"0179-xgLS"))
        header = data[block : block + 512]
        total = sum(header[:148]) + sum(header[156:]) + 8 * 32
        data[block + 148 : block + 156] = b"%06o\0 " % total
        path.write_bytes(data)
        with suppress(LostError):
            shard = index_shard(path)
            for entry in shard.entries:
                with suppress(LostError):
                    shard.read(entry)


def test_a_picture_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a.txt", b"a caption")
        add(archive, "a.png", picture(1) + bytes(20 * 2**20))
    shard = index_shard(path)
    with pytest.raises(LostError, match="picture: too_many_bytes"):
        shard.read(shard.entries[0])


def faulty_shard(path: Path) -> dict[str, int]:
    """A shard with every fault of a sample; returns how often each."""
    good = json.dumps({"caption": "fine"}).encode()
    faults = [
        ("no caption", [("png", picture(1))]),
        ("no picture", [("json", good)]),
        ("picture: unreadable", [("png", picture(2)[:60]), ("json", good)]),
        ("picture: not_supported", [("jpg", b"<html>not found</html>"), ("json", good)]),
        ("picture: empty", [("jpg", b""), ("json", good)]),
        ("caption: empty", [("png", picture(3)), ("json", b'{"caption": " !! "}')]),
        ("caption: none in the JSON", [("png", picture(4)), ("json", b'{"caption": null}')]),
        ("caption: no JSON", [("png", picture(5)), ("json", b"{")]),
        ("caption: not UTF-8", [("png", picture(6)), ("txt", b"caf\xe9")]),
        ("caption: empty", [("png", picture(7)), ("txt", b" \n")]),
    ]
    with tarfile.open(path, "w") as archive:
        for number, (_, files) in enumerate(faults):
            for extension, content in files:
                add(archive, f"bad{number}.{extension}", content)
        for number in range(5):
            add(archive, f"good{number}.png", picture(number))
            add(archive, f"good{number}.json", json.dumps({"caption": f"good {number}"}).encode())
        add(archive, "good0.pkl", b"cos\nsystem\n(S'exit'\ntR.")
    return dict(Counter(cause for cause, _ in faults))


def test_every_fault_is_counted_by_its_cause(tmp_path: Path) -> None:
    expected = faulty_shard(tmp_path / "0.tar")
    data = WebData(settings((str(tmp_path / "0.tar"), 1), most_lost=1), stage=1, seed=0)
    *lines, total = data.check()
    assert total.startswith("5 samples can be used. Lost: 2 x caption: empty")
    for cause, number in expected.items():
        assert f"{number} x {cause}" in lines[0]
    assert sorted(set(captions(data, range(15)))) == [f"good {n}" for n in range(5)]
    assert set(data.lost) == set(expected)


def test_more_than_the_share_that_may_be_lost_stops(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", 300)
    faulty_shard(tmp_path / "1.tar")
    data = WebData(settings((str(tmp_path / "{0..1}.tar"), 1)), stage=1, seed=0)
    with pytest.raises(
        TrainingError, match=r"more than the 1 % that shards.most_lost allows: .* x"
    ):
        captions(data, range(2_000))


# Many shards


def test_every_sample_comes_once_in_a_pass(tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / f"{number:05}.tar", 80, first=100 * number)
    data = WebData(settings((str(tmp_path / "{00000..00002}.tar"), 1)), stage=1, seed=0)
    held = {number_of(each.conversation.turns[0].answer) for each in data.held_out(10)}
    assert held == set(range(10))
    # A visit takes as many as the first shard has beside those held out: 16 of each of three.
    seen = [number_of(each) for each in captions(data, range(48))]
    assert len(set(seen)) == 48
    assert not set(seen) & set(range(64))
    later = [number_of(each) for each in captions(data, range(48, 5 * 48))]
    assert set(seen) | set(later) == {*range(64, 80), *range(100, 180), *range(200, 280)}


def test_a_number_is_the_same_sample_whatever_was_read_before(tmp_path: Path) -> None:
    for number in range(4):
        write_shard(tmp_path / f"{number}.tar", 70, first=100 * number)
    chosen = settings((str(tmp_path / "{0..3}.tar"), 1))
    one = captions(WebData(chosen, stage=1, seed=0), range(200))
    jumped = captions(WebData(chosen, stage=1, seed=0), range(150, 200))
    assert one[150:] == jumped
    assert captions(WebData(chosen, stage=1, seed=1), range(200)) != one


def test_sources_are_mixed_by_their_shares(tmp_path: Path) -> None:
    write_shard(tmp_path / "laion.tar", 100, first=0)
    write_shard(tmp_path / "cc.tar", 100, first=500)
    chosen = settings((str(tmp_path / "laion.tar"), 5), (str(tmp_path / "cc.tar"), 2))
    said = captions(WebData(chosen, stage=1, seed=0), range(70))
    of_cc = [number_of(each) >= 500 for each in said]
    assert sum(of_cc) == 20
    assert all(sum(of_cc[at : at + 7]) == 2 for at in range(63))  # spread evenly, not in blocks
    assert _pattern([2, 1]) == [(0, 0), (1, 0), (0, 1)]
    release = Counter(source for source, _ in _pattern([115, 14]))
    assert release == {0: 115, 1: 14}


def test_patterns() -> None:
    assert expand("a/{00008..00011}.tar::b.tar") == (
        "a/00008.tar", "a/00009.tar", "a/00010.tar", "a/00011.tar", "b.tar",
    )  # fmt: skip


@pytest.mark.load
def test_shards_from_elsewhere_are_kept(tmp_path: Path) -> None:
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    write_shard(tmp_path / "www" / "0.tar", 70)
    asked = []

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path / "www"))

        def log_message(self, *told: object) -> None:
            asked.append(told)

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        chosen = ShardsSettings(
            sources=(ShardSource(urls=f"{url}/0.tar"),), cache=str(tmp_path / "kept")
        )
        first = captions(WebData(chosen, stage=1, seed=0), range(5))
        again = captions(WebData(chosen, stage=1, seed=0), range(5))
        missing = ShardsSettings(
            sources=(ShardSource(urls=f"{url}/none.tar"),), cache=str(tmp_path / "kept")
        )
        with pytest.raises(TrainingError, match="could not be fetched"):
            WebData(missing, stage=1, seed=0).sample_of(FIRST)
        server.shutdown()
        thread.join()
    assert first == again
    assert sum("/0.tar" in str(told) for told in asked) == 1


# A run


def test_a_run_on_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        write_shard(tmp_path / f"{number}.tar", 90, first=100 * number, promised=90)
    config = tmp_path / "stage1.yaml"
    shipped = (Path(run.__file__).parent / "configs" / "tiny_stage1.yaml").read_text()
    urls = tmp_path / "{0..1}.tar"
    config.write_text(f"{shipped}\nshards:\n  sources:\n    - {{urls: '{urls}', share: 1}}\n")
    few = ["schedule.steps=4", "schedule.warmup_steps=1", "batch_size=2", "check_samples=2",
           "check_pictures=1", "check_tokens=4", "save_every=2", "device=cpu"]  # fmt: skip
    asked = ["--stage", "1", "--config", str(config), "--set", *few]
    assert run.main([*asked, "--check-data"]) == 0
    assert "180 samples can be used. None is lost." in capsys.readouterr().out
    folder = tmp_path / "run"
    assert run.main([*asked, "--output", str(folder)]) == 0
    assert "8 samples read, none lost." in capsys.readouterr().out
    assert len(read_lines(RunFolder(folder).metrics)) == 4
    assert run.main(["--stage", "1", "--output", str(folder), "--resume"]) == 0


def test_shards_are_for_stage_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "stage2.yaml"
    shipped = (Path(run.__file__).parent / "configs" / "tiny_stage2.yaml").read_text()
    config.write_text(f"{shipped}\nshards: {{sources: [{{urls: a.tar}}]}}\nown_data: {{path: b}}\n")
    assert run.main(["--stage", "2", "--config", str(config)]) == 1
    told = capsys.readouterr().err
    assert "captions are for stage 1" in told
    assert "own_data.path b; expected one" in told
