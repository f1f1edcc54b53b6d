"""The command `kpbe`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from kpbe.errors import KPBEError

TABLE1 = Path("reports/results/table1.txt")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def kpbe() -> None:
    """Keypoint based enhancement of audio-driven talking-head videos (arXiv 2210.03335)."""


@app.command()
def doctor() -> None:
    """Show versions, codecs, weights and the state of this folder: what is there, what is missing, where to get it.

    Exits with 1 when something that even the built-in sample needs is wrong.
    """
    from kpbe.doctor import examine

    wrong = 0
    for heading, findings in examine():
        typer.echo(f"\n{heading}")
        for finding in findings:
            typer.echo(f"  {finding.mark:<5} {finding.what:<22} {finding.detail}")
            wrong += finding.mark == "WRONG"
    typer.echo(
        f"\n{wrong} wrong."
        if wrong
        else "\nNothing is wrong; `--` marks what is absent and not needed for the sample."
    )
    raise typer.Exit(1 if wrong else 0)


@app.command()
def table1() -> None:
    """Print Table I of the last `dvc repro` and say where the rest of the results is."""
    if not TABLE1.exists():
        raise KPBEError(
            f"{TABLE1} does not exist: run `make repro` (or `dvc repro`) in the repository root first."
        )
    typer.echo(TABLE1.read_text(encoding="utf-8"))
    folder = TABLE1.parent
    typer.echo(
        f"Table: {folder / 'table1.md'}, figure: {folder / 'figure3.png'}, videos and curves: make report"
    )


def main() -> None:
    """Entry point: errors meant for the user are one message on stderr and exit code 1."""
    try:
        app()
    except KPBEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
