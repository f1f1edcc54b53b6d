"""The command `kpbe`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kpbe.checkpoints.cli import app as weights_app
from kpbe.core.processes import let_idle_threads_sleep
from kpbe.errors import KPBEError, MissingWeights
from kpbe.paths import BACKEND_CHECKPOINTS, PARAMS_FILE, RELEASED, TABLE1_TEXT, shipped
from kpbe.survey.cli import app as survey_app

if TYPE_CHECKING:
    from kpbe.frontend.model import Frontend

CHECKPOINT_HELP = (
    "a frontend of ours, a training's folder such as checkpoints/stage2/wav2lip, or a public checkpoint of "
    "OSFV or SadTalker; without it the one in weights/released"
)
MODEL_HELP = "of a public checkpoint that does not tell the order of its rotations: vox256 or vox256_beta"
FRAMING_HELP = "which square is used: auto, face, centre or whole"
FACE_HELP = "whose face: largest, left, right, or N (1 is the first seen, from the left)"
VIEW_HELP = "head pose of all frames, in place of a video's:"
VIEWS_HELP = "CSV with a row for each frame: any of the columns yaw, pitch, roll, x, y, z"
ROTATION_HELP = "JSON with a 3x3 rotation matrix in place of the angles, or a list of one for each frame"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(survey_app, name="survey")
app.add_typer(weights_app, name="weights")


@app.callback()
def kpbe() -> None:
    """Keypoint based enhancement of audio-driven talking-head videos (arXiv 2210.03335)."""


@app.command()
def doctor() -> None:
    """Show versions, codecs, weights and the state of this folder: what is there, what is missing, where to
    get it.

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
    if not TABLE1_TEXT.exists():
        raise KPBEError(
            f"{TABLE1_TEXT} does not exist: run `make repro` (or `dvc repro`) in the repository root first."
        )
    typer.echo(TABLE1_TEXT.read_text(encoding="utf-8"))
    folder = TABLE1_TEXT.parent
    typer.echo(
        f"Table: {folder / 'table1.md'}, figure: {folder / 'figures' / 'figure3.png'}, videos and curves: "
        f"make report"
    )


@app.command()
def speak(
    backend: Annotated[str, typer.Argument(help="name of a backend in params.yaml, e.g. wav2lip")],
    source: Annotated[Path, typer.Option(help="picture or video of the speaker")],
    audio: Annotated[Path, typer.Option(help="speech: any file with sound")],
    out: Annotated[Path, typer.Option(help=".mkv (lossless) or .mp4")],
    pose: Annotated[
        Path | None, typer.Option(help="video of the head pose, for backends that take one")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="weights; without it those in checkpoints/backends, else in weights/released"),
    ] = None,
    face: Annotated[str, typer.Option(help=FACE_HELP)] = "auto",
    audio_track: Annotated[int | None, typer.Option(help="which one, 1 is the first")] = None,
) -> None:
    """Let a backend speak, without enhancement: a picture or a video, and speech, to a talking video."""
    from kpbe.backends.registry import backend_of, is_trainable
    from kpbe.backends.speech_video import request_of_files, with_finders, write_speech_video
    from kpbe.core.device import torch_device
    from kpbe.data.people import check_choice
    from kpbe.media.sound_track import find_sound
    from kpbe.media.video_writer import check_output
    from kpbe.params import load_params

    check_output(out, [path for path in (source, audio, pose) if path is not None])
    params = load_params(shipped(Path(PARAMS_FILE)))
    kind, settings = backend_of(params, backend)
    if check_choice(face) != "auto" and not hasattr(settings, "detector"):
        raise KPBEError(f"{backend} takes the face that stands out: cut {source} to the person instead.")
    if checkpoint is None:
        checkpoint = (
            _backend_weights(settings.weights_of or backend) if is_trainable(kind) else settings.checkpoint
        )
    loaded = kind.from_checkpoint(checkpoint, with_finders(settings), str(torch_device(params.compute)))
    request = request_of_files(source, audio, pose, face=face, audio_track=audio_track)
    write_speech_video(out, loaded, request, find_sound(audio, audio_track))
    typer.echo(f"{out}: {request.frames} frames at {request.fps:g} fps")


@app.command()
def enhance(
    talking: Annotated[
        Path,
        typer.Argument(help="the backend's video; or a folder of videos, or a list (.txt, .csv)"),
    ],
    out: Annotated[
        Path, typer.Option(help=".mp4 or .mov, or .mkv (lossless); a folder where TALKING is one or a list")
    ],
    source: Annotated[
        Path | None,
        typer.Option(help="picture or video of the person; without it the best frame of the talking video"),
    ] = None,
    pose: Annotated[
        Path | None, typer.Option(help="video of the head pose; without it the talking video's own")
    ] = None,
    pose_end: Annotated[
        str, typer.Option(help="where the pose video is shorter: cut, loop, hold or swing (back and forth)")
    ] = "cut",
    yaw: Annotated[float | None, typer.Option(help=f"{VIEW_HELP} degrees, -45 to 45 are advised")] = None,
    pitch: Annotated[float | None, typer.Option(help="degrees, -20 to 20 are advised")] = None,
    roll: Annotated[float | None, typer.Option(help="degrees, -20 to 20 are advised")] = None,
    translate: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="translation to the right, down and in depth; the picture is 2 wide"),
    ] = None,
    views: Annotated[Path | None, typer.Option(help=VIEWS_HELP)] = None,
    rotation: Annotated[Path | None, typer.Option(help=ROTATION_HELP)] = None,
    face: Annotated[str, typer.Option(help=FACE_HELP)] = "auto",
    paste: Annotated[
        bool | None,
        typer.Option(
            help="put the face back into the talking video, at its size; the default where that shows more "
            "than a face and the head pose is its own. Else the result is the source's square."
        ),
    ] = None,
    take: Annotated[
        str, typer.Option(help="what moves the source: of expression, pose, lips, eyes; by commas")
    ] = "expression,pose",
    motion: Annotated[
        str, typer.Option(help="absolute, or relative: from the source's own pose and expression")
    ] = "absolute",
    adapt_scale: Annotated[
        bool, typer.Option(help="relative motion in the size of the source's head")
    ] = True,
    strength: Annotated[float, typer.Option(help="of the expression: 0 to 2, 1 is the video's own")] = 1.0,
    smoothing: Annotated[
        float, typer.Option(help="of head pose and expression, 0 to 1; lips stay as they are")
    ] = 0.0,
    best_source_frame: Annotated[
        bool, typer.Option(help="of a source video: the frame that fits the talking video best")
    ] = False,
    close_lips: Annotated[bool, typer.Option(help="in silence the lips are the source picture's")] = False,
    audio_track: Annotated[int | None, typer.Option(help="which one, 1 is the first")] = None,
    fps: Annotated[float | None, typer.Option(help="of the result; without it the talking video's")] = None,
    resume: Annotated[
        bool, typer.Option(help="write in parts, and go on with those that an earlier run has left")
    ] = False,
    checkpoint: Annotated[Path | None, typer.Option(help=CHECKPOINT_HELP)] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    framing: Annotated[str, typer.Option(help=FRAMING_HELP)] = "auto",
) -> None:
    """Enhance talking videos: any video of any backend, with a picture of the person.

    With --yaw, --pitch, --roll, --translate, --views or --rotation the head pose is yours instead of a
    video's, and what you leave open stays that of the source picture. The shorter of the talking video,
    --pose, --views and a list of rotations ends the result.
    """
    from kpbe.data.people import check_choice
    from kpbe.inference.driving import Driving, parts_of, pose_end_of
    from kpbe.inference.enhance_video import Options
    from kpbe.inference.enhance_videos import enhance_videos
    from kpbe.inference.framing import framing_of
    from kpbe.inference.free_view import View
    from kpbe.inference.viewpoints import viewpoints

    if motion not in ("absolute", "relative"):
        raise KPBEError(f"there is no motion {motion}: choose absolute or relative.")
    options = Options(
        framing=framing_of(framing),
        face=check_choice(face),
        paste=paste,
        driving=Driving(parts_of(take), motion == "relative", adapt_scale, strength, smoothing),
        pose_end=pose_end_of(pose_end),
        best_source_frame=best_source_frame,
        close_lips=close_lips,
        audio_track=audio_track,
        fps=fps,
        resume=resume,
    )
    view = View(yaw, pitch, roll, *(translate or ()))
    own_views = view != View() or views is not None or rotation is not None
    seen_from = viewpoints(view, views, rotation) if own_views else None
    failures = enhance_videos(
        lambda: _frontend(checkpoint, model), talking, source, out, pose, seen_from, options, typer.echo
    )
    if failures:
        raise typer.Exit(1)


@app.command()
def freeview(
    source: Annotated[
        Path, typer.Argument(help="picture of the person, or a video whose first frame is taken")
    ],
    out: Annotated[Path, typer.Option(help=".png, or .mp4 / .mkv: the head swings to the view and back")],
    yaw: Annotated[float | None, typer.Option(help="degrees, -45 to 45 are advised")] = None,
    pitch: Annotated[float | None, typer.Option(help="degrees, -20 to 20 are advised")] = None,
    roll: Annotated[float | None, typer.Option(help="degrees, -20 to 20 are advised")] = None,
    x: Annotated[float | None, typer.Option(help="translation to the right; the picture is 2 wide")] = None,
    y: Annotated[float | None, typer.Option(help="translation down")] = None,
    z: Annotated[float | None, typer.Option(help="translation in depth")] = None,
    views: Annotated[Path | None, typer.Option(help=VIEWS_HELP)] = None,
    rotation: Annotated[Path | None, typer.Option(help=ROTATION_HELP)] = None,
    expression: Annotated[Path | None, typer.Option(help="picture or video of another expression")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help=CHECKPOINT_HELP)] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    framing: Annotated[str, typer.Option(help=FRAMING_HELP)] = "auto",
    face: Annotated[str, typer.Option(help=FACE_HELP)] = "auto",
) -> None:
    """Turn and move a head: what is given replaces the source's own pose, what is not given stays.

    --views or a list of rotations makes a video with a frame for each; a single rotation makes a picture.
    """
    from kpbe.data.people import check_choice
    from kpbe.inference.enhance_video import read_portrait
    from kpbe.inference.framing import framing_of
    from kpbe.inference.free_view import View, write_free_view
    from kpbe.inference.novel_view import write_viewpoints
    from kpbe.inference.viewpoints import viewpoints

    chosen = framing_of(framing)
    view = View(yaw, pitch, roll, x, y, z)
    seen_from = None if views is None and rotation is None else viewpoints(view, views, rotation)
    frontend = _frontend(checkpoint, model)
    image = read_portrait(source, chosen, check_choice(face))
    other = None if expression is None else read_portrait(expression, chosen)
    if seen_from is None:
        own = write_free_view(out, frontend, image, view, other)
    else:
        own = write_viewpoints(out, frontend, image, seen_from, other)
    typer.echo(
        f"{out}: the source's own pose is yaw {own.yaw:.1f}, pitch {own.pitch:.1f}, roll {own.roll:.1f}"
    )


@app.command()
def score(
    truth: Annotated[Path, typer.Argument(help="the real video")],
    tests: Annotated[list[Path], typer.Argument(help="videos that stand for it, frame by frame")],
    source_frame: Annotated[
        int | None,
        typer.Option(
            help="which of the real frames they were made from: it is not scored, and shares count from it"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="also write the numbers to this .json")] = None,
) -> None:
    """Score videos against the real one: the numbers of Table I, for any files."""
    from kpbe.core.files import write_json
    from kpbe.evaluation.score_files import score_files, scores_in_words
    from kpbe.params import ComputeParams

    found = score_files(truth, tests, ComputeParams(), source_frame)
    typer.echo(scores_in_words(found))
    if out is not None:
        write_json(out, found.as_json())


@app.command()
def release(backend: Annotated[str, typer.Argument(help="a backend that the last `dvc repro` ran")]) -> None:
    """Write small copies of the trained frontend and backend, with what they are, to weights/released for
    git.
    """

    from kpbe.inference.release import release as write_release

    files = write_release(backend)["files"]
    for name, entry in files.items():
        typer.echo(f"{RELEASED / name}: {entry['bytes'] / 1e6:.1f} MB, sha256 {entry['sha256']}")


def _backend_weights(backend: str) -> Path:
    """The weights that the DAG trained for a backend, else the released ones."""
    from kpbe.checkpoints.catalogue import trained_weights

    released = shipped(RELEASED) / f"{backend}.safetensors"
    trained = BACKEND_CHECKPOINTS / backend
    if not released.is_file() and not trained.is_dir():
        raise MissingWeights(
            f"there are no weights for {backend}, neither {released} nor {trained}: train it (dvc repro "
            f"train_backend@{backend}), or name a file with --checkpoint."
        )
    return released if released.is_file() and not trained.is_dir() else trained_weights(trained)


def _frontend(checkpoint: Path | None, model: str | None) -> Frontend:
    """The frontend of --checkpoint on the device of params.yaml, or on the CPU where there is none."""
    from kpbe.core.device import torch_device
    from kpbe.frontend.public_networks import conventions_of
    from kpbe.inference.frontends import described, frontend_file, open_frontend
    from kpbe.params import load_params

    conventions = None if model is None else conventions_of(model)
    file = frontend_file(checkpoint)
    device = str(torch_device(load_params().compute)) if Path("params.yaml").is_file() else "cpu"
    frontend = open_frontend(file, device, conventions)
    typer.echo(f"frontend: {described(file, frontend)}")
    return frontend


def main() -> None:
    """Entry point: errors meant for the user are one message on stderr and exit code 1."""
    let_idle_threads_sleep()
    try:
        app()
    except KPBEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
