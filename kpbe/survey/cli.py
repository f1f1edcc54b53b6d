"""`kpbe survey ...`: links, progress, export, the demo study, the administrator's password.

Run it from the repository root.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kpbe.errors import SurveyError
from kpbe.paths import DEMO_RATINGS

if TYPE_CHECKING:
    from kpbe.survey.store.answers import SurveyStore
    from kpbe.survey.study.design import Study

app = typer.Typer(no_args_is_help=True, help="The opinion survey: links, progress, export, demo.")

Demo = Annotated[bool, typer.Option("--demo", help="the demo study with invented answers")]
SECRETS = Path(".streamlit/secrets.toml")


@app.command()
def invite(
    count: Annotated[int, typer.Option("-n", "--count", help="how many raters", min=1, max=10_000)],
    base_url: Annotated[str, typer.Option(help="where raters find the survey")] = "http://localhost:8502",
    out: Annotated[Path | None, typer.Option(help="also write the links into this CSV file")] = None,
) -> None:
    """Make personal links for new raters. They are shown only once: the database keeps only their hashes."""
    from kpbe.core.files import write_csv
    from kpbe.survey.store.rows import rater_name

    store, study = _store()
    links = {rater_name(new.rater_number): new.link(base_url) for new in store.invite(study.name, count)}
    for name, link in links.items():
        typer.echo(f"{name}  {link}")
    if out is not None:
        write_csv(out, ("rater", "link"), [{"rater": name, "link": link} for name, link in links.items()])


@app.command()
def revoke(
    rater: Annotated[str, typer.Argument(help="number (3, r003) or token")],
    reason: Annotated[str, typer.Option(help="stored with the rater")] = "",
    forget: Annotated[bool, typer.Option("--forget", help="delete everything the rater did as well")] = False,
) -> None:
    """Close a rater's link and leave their answers out of the export; with --forget, delete the answers."""
    from kpbe.survey.store.rows import rater_name

    store, study = _store()
    number = store.revoke(study.name, rater, reason, forget)
    typer.echo(f"{rater_name(number)} is revoked{' and forgotten' if forget else ''}.")


@app.command()
def status(demo: Demo = False) -> None:
    """Show the progress of the raters."""
    from kpbe.survey.store.export import utc_text
    from kpbe.survey.store.rows import rater_name

    store, study = _store(demo)
    rows = store.progress(study.name)
    typer.echo(f"{study.name}: {len(rows)} invited{' (demo: invented answers)' if demo else ''}")
    for row in rows:
        total = len(study.order_of(row.rater.number))
        seen = utc_text(row.last_seen_at) if row.last_seen_at else "-"
        why = f"  {row.revoked_reason}" if row.revoked_reason else ""
        typer.echo(
            f"  {rater_name(row.rater.number)}  {row.state:<9}  {row.items_rated:>3} of {total}  {seen}{why}"
        )
    states = [row.state for row in rows]
    typer.echo(f"{states.count('finished')} finished, {states.count('rating')} rating.")


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="default: survey.ratings of params.yaml")] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="overwrite a file even if it holds answers that this export lacks"),
    ] = False,
    demo: Demo = False,
) -> None:
    """Write the answers as one tidy CSV, the input of the stage mos_scores."""
    from kpbe.params import load_params
    from kpbe.survey.store.export import write_ratings

    store, study = _store(demo)
    path = out or (DEMO_RATINGS if demo else load_params().survey.ratings)
    if (
        demo
        and path.resolve() != DEMO_RATINGS.resolve()
        and path.resolve() == load_params().survey.ratings.resolve()
    ):
        raise SurveyError(f"{path} is for people's answers: the demo's go to {DEMO_RATINGS}.")
    if not demo and path.resolve() == DEMO_RATINGS.resolve():
        raise SurveyError(
            f"{path} is for the demo's answers: give --out, or set survey.ratings in params.yaml."
        )
    rows = store.export_rows(study)
    write_ratings(path, rows, replace)
    revoked = sum(one.rater.revoked for one in store.progress(study.name))
    left_out = f"; {revoked} revoked raters left out" if revoked else ""
    typer.echo(f"{path}: {len(rows)} answers of {len({row['rater'] for row in rows})} raters{left_out}")


@app.command()
def comments(demo: Demo = False) -> None:
    """Show the raters' comments."""
    from kpbe.survey.store.export import utc_text
    from kpbe.survey.store.rows import rater_name

    store, study = _store(demo)
    rows = store.comments(study.name)
    for row in rows:
        about = f"clip {row.item}: " if row.item else ""
        typer.echo(f"{rater_name(row.rater)}  {utc_text(row.written_at)}  {about}{row.text}")
    if not rows:
        typer.echo(f"{study.name}: nobody wrote anything yet.")


@app.command()
def simulate(
    raters: Annotated[int, typer.Option(help="number of raters", min=1, max=500)] = 24,
    careless: Annotated[int, typer.Option(help="how many of them answer without looking", min=0)] = 1,
    seed: Annotated[int, typer.Option(help="seed of scores and times", min=0)] = 0,
) -> None:
    """Fill the demo study with invented raters, to see the pages. It does not touch the real study."""
    from tqdm import tqdm

    from kpbe.survey import simulate as simulation
    from kpbe.survey.store.export import write_ratings

    store, study = _store(demo=True)
    with tqdm(total=raters, desc="simulated raters", unit="rater", dynamic_ncols=True) as bar:
        finished = simulation.simulate(store, raters, careless, seed, lambda _: bar.update())
    rows = store.export_rows(study)
    write_ratings(DEMO_RATINGS, rows, replace=True)
    typer.echo(
        f"{study.name}: {finished} of {raters} invented raters finished; {DEMO_RATINGS}: {len(rows)} answers"
    )


@app.command()
def password(
    save: Annotated[bool, typer.Option("--save", help=f"write {SECRETS} where there is none yet")] = False,
) -> None:
    """Ask for the administrator's password and show the lines that .streamlit/secrets.toml needs."""
    from kpbe.core.files import whole
    from kpbe.survey.store.passwords import password_hash

    if save and SECRETS.exists():
        raise SurveyError(f"{SECRETS} exists: run without --save and put the shown lines into it.")
    secret = typer.prompt("Password of the survey's administrator", hide_input=True, confirmation_prompt=True)
    lines = f'[survey]\nadmin_password = "{password_hash(secret)}"\n'
    if not save:
        typer.echo(f"Put these lines into {SECRETS}:\n\n{lines}")
        return
    with whole(SECRETS) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(lines, encoding="utf-8")
    typer.echo(f"{SECRETS} is written; restart the site if it is running.")


def _store(demo: bool = False) -> tuple[SurveyStore, Study]:
    from kpbe.survey.store.answers import open_store

    store = open_store(demo=demo)
    assert store.design is not None
    return store, store.design
