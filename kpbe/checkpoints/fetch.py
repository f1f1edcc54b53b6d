"""Fetch a catalogued weight file from its publisher: resumable, checked by digest, written whole.

The bytes received so far lie in `<file>.part` beside the final file. `<file>.part.json` holds the address and
version they belong to, so that a later call resumes only where the publisher still has the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from kpbe.checkpoints.catalogue import CATALOGUE, WeightFile, how_to_get
from kpbe.core.files import file_sha256, write_json
from kpbe.errors import FetchFailed

if TYPE_CHECKING:
    from requests import Response

TIMEOUT_S = 30.0
"""Seconds that the publisher may be silent."""

CHUNK = 1 << 18
"""Bytes written at a time."""

LOOKS_LIKE_A_PAGE = (b"<!doctype html", b"<html", b"<?xml")


@dataclass(frozen=True)
class Fetched:
    """A fetched file.

    Attributes:
        path: where it lies.
        sha256: its digest.
        verified: whether it is the catalogued digest; False where none is catalogued.
    """

    path: Path
    sha256: str
    verified: bool


def fetch(name: str, folder: Path, quiet: bool = False) -> Fetched:
    """Fetch a catalogued file, or resume the part that an earlier call left.

    Args:
        name: key of the catalogue.
        folder: where the file goes; created when it does not exist.
        quiet: show no progress bar.

    Raises:
        FetchFailed: the file has no address, the network or the publisher fails, the bytes are not those of
            the file, or it cannot be written. A part of the right file is kept for the next call.
    """
    entry = CATALOGUE[name]
    if entry.url is None:
        raise FetchFailed(
            f"{entry.file} has no address that a program can fetch it from: {how_to_get(name)}."
        )
    part = _Part(folder / f"{entry.file}.part", entry.url)
    try:
        _receive(entry, part, quiet)
        digest = file_sha256(part.path)
        if entry.sha256 is not None and not digest.startswith(entry.sha256):
            part.remove()
            raise FetchFailed(
                f"{entry.url} gave another file than the published one (SHA-256 {digest[:16]}..., expected "
                f"{entry.sha256[:16]}...): nothing is kept; {_by_hand(entry)}."
            )
        path = part.path.replace(folder / entry.file)
        part.remove()
    except OSError as error:
        raise FetchFailed(
            f"{folder / entry.file} cannot be written ({error.strerror or error}): free some space or name "
            f"another folder with --to."
        ) from None
    return Fetched(path, digest, entry.sha256 is not None)


@dataclass(frozen=True)
class _Part:
    """The part of a file received so far."""

    path: Path
    url: str

    @property
    def _about(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def begun(self, checked: bool) -> tuple[int, str]:
        """Bytes received, and the publisher's mark of their version; (0, "") where resuming is impossible.

        Args:
            checked: a digest is checked afterwards and notices mixed versions, so no mark is needed.
        """
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
            if about["url"] == self.url and (about["version"] or checked):
                return self.path.stat().st_size, str(about["version"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def begin(self, version: str) -> None:
        """Start again with no bytes."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.remove()
        write_json(self._about, {"url": self.url, "version": version})

    def remove(self) -> None:
        """Remove the part and its record."""
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def _receive(entry: WeightFile, part: _Part, quiet: bool) -> None:
    """Request the bytes that are missing and append them to the part."""
    size, version = part.begun(checked=entry.sha256 is not None)
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers |= {"Range": f"bytes={size}-"} | ({"If-Range": version} if version else {})
    with _response(part.url, headers) as response:
        status, place = response.status_code, response.headers.get("Content-Range", "")
        if size and status == 416 and place == f"bytes */{size}":
            return  # an earlier call received all of it
        if size and status in (206, 416) and not place.startswith(f"bytes {size}-"):
            part.remove()  # the publisher's file is shorter now, or the range is not the requested one
            return _receive(entry, part, quiet)
        if status not in (200, 206):
            raise FetchFailed(f"{part.url} answered {status} ({response.reason}): {_by_hand(entry)}.")
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise _page(entry, part)
        if status == 200:
            size = 0
            part.begin(_version(response))
        _store(entry, response, part, size, quiet)


def _store(entry: WeightFile, response: Response, part: _Part, size: int, quiet: bool) -> None:
    """Append the response's bytes to the part, which holds `size` bytes already."""
    length = response.headers.get("Content-Length", "")
    total = size + int(length) if length.isdigit() else None
    hidden = True if quiet else None  # None: tqdm hides the bar where there is no terminal
    with (
        part.path.open("ab") as file,
        tqdm(desc=entry.file, total=total, initial=size, unit="B", unit_scale=True, disable=hidden) as bar,
    ):
        for chunk in response.iter_content(CHUNK):
            if file.tell() == 0 and chunk.lstrip()[:20].lower().startswith(LOOKS_LIKE_A_PAGE):
                raise _page(entry, part)
            file.write(chunk)
            bar.update(len(chunk))
        arrived = file.tell()
    if total is not None and arrived < total:
        raise _interrupted(part.url)


@contextmanager
def _response(url: str, headers: dict[str, str]) -> Iterator[Response]:
    """The publisher's response; network errors while it is read become a one-sentence FetchFailed."""
    import requests

    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            yield response
    except requests.exceptions.ChunkedEncodingError:
        raise _interrupted(url) from None
    except requests.RequestException as error:
        raise FetchFailed(
            f"{url} cannot be reached ({_why(error)}): look at the network and run the same command again."
        ) from None


def _why(error: Exception) -> str:
    """The innermost reason of a network error, short."""
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


def _version(response: Response) -> str:
    """The publisher's mark of the file's version: a strong entity tag, else the date; empty without both."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _page(entry: WeightFile, part: _Part) -> FetchFailed:
    part.remove()
    return FetchFailed(f"{entry.url} answered with a web page in place of the file: {_by_hand(entry)}.")


def _interrupted(url: str) -> FetchFailed:
    return FetchFailed(
        f"the connection to {url} ended before the file was whole: run the same command again, which goes on "
        f"from there."
    )


def _by_hand(entry: WeightFile) -> str:
    return f"get {entry.file} by hand from {entry.source}"
