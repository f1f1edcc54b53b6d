"""`kpbe weights`: list the published files, show which are here, fetch one from its publisher."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kpbe.checkpoints.catalogue import CATALOGUE, find, is_published_file
from kpbe.errors import KPBEError

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def weights(context: typer.Context) -> None:
    """List the published weight files that KPBE can use: purpose, licence, publisher, whether it is here.

    KPBE works without all of them; `kpbe doctor` says what is left out without each.
    """
    if context.invoked_subcommand is None:
        for name in CATALOGUE:
            typer.echo(_entry(name))


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="name in the list of `kpbe weights`")],
    accept: Annotated[
        bool, typer.Option("--accept", help="agree to the licence without being asked")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="folder for the file; without it the first of KPBE_WEIGHTS, else weights/"),
    ] = None,
) -> None:
    """Fetch one file from its publisher after you agree to its licence; resumes an interrupted fetch."""
    from kpbe.checkpoints.fetch import fetch

    entry = CATALOGUE.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, CATALOGUE, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise KPBEError(f"there is no weight file {name}: {meant}`kpbe weights` lists them.")
    folder = to or _folder()
    present = folder / entry.file if to is not None else find(name)
    if present is not None and present.is_file():
        if is_published_file(name, present) is False:
            raise KPBEError(f"{present} is not the published file: remove it and run the same command again.")
        typer.echo(f"{present} is there already.")
        return
    if entry.url is not None:  # else `fetch` says where a person gets it
        typer.echo(f"{entry.file}: {entry.purpose}\nlicence: {entry.licence}\npublisher: {entry.source}")
        _agree(name, accept)
    fetched = fetch(name, folder)
    if fetched.verified:
        typer.echo(f"{fetched.path}: its SHA-256 is that of the published file.")
    else:
        typer.echo(f"{fetched.path}: no digest is catalogued for it; its SHA-256 is {fetched.sha256}.")


def _agree(name: str, accept: bool) -> None:
    """Let the user agree to the licence.

    Raises:
        KPBEError: the user does not agree, or there is no terminal to ask on.
    """
    if accept:
        return
    if not sys.stdin.isatty():
        raise KPBEError(f"{name} is fetched only after you agree to its licence: add --accept.")
    if not typer.confirm("Do you agree to the licence?"):
        raise KPBEError(f"{name} was not fetched, since you do not agree to its licence.")


def _folder() -> Path:
    """The folder for fetched files: one that `weight_folders` searches."""
    configured = os.environ.get("KPBE_WEIGHTS", "").split(os.pathsep)
    return Path(next(filter(None, configured), "weights"))


def _entry(name: str) -> str:
    entry, path = CATALOGUE[name], find(name)
    here = "not here" if path is None else f"here: {path}"
    if path is None and entry.url is not None:
        here += f": kpbe weights get {name}"
    lines = (f"for        {entry.purpose}", f"licence    {entry.licence}", f"publisher  {entry.source}")
    return "\n    ".join((f"{name} ({entry.file}, {_size(entry.size)}), {here}", *lines))


def _size(size: int | None) -> str:
    if size is None:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
