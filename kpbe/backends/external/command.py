"""The backend kind `command`: any program that makes a talking video, run once for each clip."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from pydantic import Field, field_validator, model_validator

from kpbe.backends.base import BackendSettings, SynthesisRequest
from kpbe.backends.external.programs import Ended, run_program
from kpbe.backends.external.videos import ExternalSettings, WrongLength, fitted_frames, refuse_too_short
from kpbe.data.raw import VIDEO_SUFFIXES
from kpbe.errors import BadClip, KPBEError, MissingWeights
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import VideoWriter

PLACEHOLDERS = (
    "image",
    "audio",
    "pose_video",
    "video",
    "output",
    "output_folder",
    "checkpoint",
    "clip_id",
    "fps",
    "frames",
)

INPUT_CRF = 8
"""x264's quality of the program's input videos: it adds hardly any loss to that of the clips."""


class CommandSettings(ExternalSettings):
    """A program and how to call it.

    Attributes:
        command: the program and its arguments, split like a shell does but not run by one. Placeholders:
            `{image}` (PNG: the source frame, or the first frame with feed: video), `{audio}` (WAV, 16 kHz
            mono 16 bit), `{pose_video}` (MP4, H.264, the clip's frames, for the head pose), `{video}` (the
            same as the source, only with feed: video), `{output}` (the MP4 to write) or `{output_folder}` (an
            empty folder, for programs that choose the name; they must leave exactly one video in it),
            `{checkpoint}`, `{clip_id}`, `{fps}`, `{frames}` (number of output frames). `{{` and `}}` are
            braces.
        timeout_s: seconds after which a clip's program is killed and the clip rejected.
        working_folder: where the program runs.
        environment: entries NAME=value, added to our environment variables.
        version: free text; changing it makes all clips again. For changes that no other key shows, such as an
            update of the program.
    """

    kind: Literal["command"] = "command"
    command: str
    timeout_s: float = Field(default=3600, gt=0)
    working_folder: Path = Path()
    environment: tuple[str, ...] = ()
    version: str = ""

    @property
    def given_head_pose(self) -> bool:
        """Whether the program gets the clip's frames, as video or for their pose."""
        return self.feed == "video" or "{pose_video}" in self.command

    @field_validator("environment")
    @classmethod
    def _names_and_values(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if not entry.partition("=")[0].strip() or "=" not in entry:
                raise ValueError(f"environment = {entry!r} is not allowed: write NAME=value")
        return entries

    @model_validator(mode="after")
    def _command_can_be_filled_in(self) -> CommandSettings:
        try:
            arguments = shlex.split(self.command)
            fields = [field for argument in arguments for field in Formatter().parse(argument)]
        except ValueError as error:
            raise ValueError(
                f"command = {self.command!r} cannot be read ({error}): close quotes, and write {{{{ and }}}} "
                f"for braces"
            ) from None
        if not arguments:
            raise ValueError("command is empty: name a program and its arguments")
        used = set()
        for _, name, form, conversion in fields:
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                whole = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise ValueError(
                    f"command has the unknown placeholder {{{whole}}}: known are {known}; braces as such are "
                    f"{{{{ and }}}}"
                )
            used.add(name)
        if len(used & {"output", "output_folder"}) != 1:
            raise ValueError(
                f"command = {self.command!r} must have one of {{output}} (the video to write) and "
                f"{{output_folder}}"
            )
        if "video" in used and self.feed != "video":
            raise ValueError(
                "command has {video}, the clip's own frames: set feed to video, or take {image} (and "
                "{pose_video})"
            )
        if "checkpoint" in used and self.checkpoint is None:
            raise ValueError("command has {checkpoint}, but checkpoint names no file")
        return self

    @property
    def placeholders(self) -> set[str]:
        """Names of the placeholders in `command`."""
        return {name for argument in self.arguments for _, name, _, _ in Formatter().parse(argument) if name}

    @property
    def arguments(self) -> list[str]:
        """The program and its arguments before placeholders are filled in."""
        return shlex.split(self.command)

    @property
    def folder(self) -> Path:
        """`working_folder` as an absolute path."""
        return self.working_folder.expanduser().absolute()

    @property
    def variables(self) -> dict[str, str]:
        """All environment variables of the program."""
        return {**os.environ, **dict(entry.split("=", 1) for entry in self.environment)}


@dataclass(frozen=True)
class MadeVideo:
    """The program's result.

    Attributes:
        video: the file, inside `scratch`.
        scratch: removed once the frames are read.
        ended: how the program ended.
    """

    video: Path
    scratch: TemporaryDirectory[str]
    ended: Ended


class CommandBackend:
    """Any program as a backend.

    Args:
        program: its path.
        settings: how to call it.
    """

    kind: ClassVar[str] = "command"
    Settings: ClassVar[type[BackendSettings]] = CommandSettings

    def __init__(self, program: Path, settings: CommandSettings):
        self.program = program
        self.settings = settings

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: CommandSettings, device: str = "cpu") -> Self:
        """Find the program; `device` is ignored, since the program chooses its own.

        Raises:
            MissingWeights: `path` is not None and not a file.
            KPBEError: there is no such program or working folder.
        """
        if path is not None and not path.is_file():
            raise MissingWeights(f"{path} (checkpoint) is not a file: correct the path or fetch the file.")
        if not settings.folder.is_dir():
            raise KPBEError(
                f"{settings.folder} (working_folder) is not a folder: correct it, or install the program "
                f"there."
            )
        return cls(_find_program(settings), settings)

    @classmethod
    def made_from(cls, settings: CommandSettings, clip_id: str) -> dict[str, Any]:
        """The command, its working folder, its version and the length rule.

        The environment is left out, since it describes the machine.
        """
        return settings.model_dump(
            mode="json", include={"command", "working_folder", "version", "allowed_missing_frames"}
        )

    def prepare(self, request: SynthesisRequest) -> MadeVideo:
        """Run the program; see `Backend.prepare`. Its output goes to `request.log`.

        Raises:
            BadClip: the program failed, took too long, or left no video that is long enough; the message has
                its last line and the log.
            KPBEError: the program cannot be started.
        """
        scratch = TemporaryDirectory(prefix="kpbe-", ignore_cleanup_errors=True)
        try:
            folder = Path(scratch.name).absolute()
            values = self._write_inputs(request, folder)
            arguments = [argument.format_map(values) for argument in self.settings.arguments]
            ended = run_program(
                [str(self.program), *arguments[1:]],
                log=request.log or folder / "program.log",
                timeout_s=self.settings.timeout_s,
                working_folder=self.settings.folder,
                environment=self.settings.variables,
                scratch=folder,
            )
            return MadeVideo(self._result(request, ended, values), scratch, ended)
        except BaseException:
            scratch.cleanup()
            raise

    def synthesize(self, request: SynthesisRequest, prepared: MadeVideo) -> Iterator[np.ndarray]:
        """Yield the video's frames at the clip's rate and size; see `Backend.synthesize`."""
        with prepared.scratch:
            try:
                yield from fitted_frames(prepared.video, request)
            except BadClip:
                raise self._failed(request, prepared.ended, "left a damaged video") from None

    def _write_inputs(self, request: SynthesisRequest, folder: Path) -> dict[str, str]:
        """Write the files that the command uses; returns the values of all placeholders."""
        used = self.settings.placeholders
        names = {
            "image": "image.png",
            "audio": "audio.wav",
            "pose_video": "pose.mp4",
            "video": "video.mp4",
            "output": "output.mp4",
            "output_folder": "output",
        }
        paths = {placeholder: folder / name for placeholder, name in names.items()}
        source = request.first_frames(1)[0]
        if "image" in used:
            cv2.imwrite(str(paths["image"]), cv2.cvtColor(source, cv2.COLOR_RGB2BGR))
        if "audio" in used:
            write_wav(paths["audio"], request.wave)
        videos = {"pose_video": request.pose_frames, "video": request.source_frames}
        for placeholder in sorted(used & set(videos)):
            if (frames := videos[placeholder]) is None:
                raise BadClip(f"{request.name} has no {placeholder}, which the command asks for.")
            with VideoWriter(paths[placeholder], request.fps, crf=INPUT_CRF) as writer:
                for frame in frames:
                    writer.write(frame)
        if "output_folder" in used:
            paths["output_folder"].mkdir()
        checkpoint = self.settings.checkpoint
        return {
            **{placeholder: str(path) for placeholder, path in paths.items()},
            "checkpoint": str(checkpoint.absolute()) if checkpoint else "",
            "clip_id": request.clip_id,
            "fps": f"{request.fps:g}",
            "frames": str(request.frames),
        }

    def _result(self, request: SynthesisRequest, ended: Ended, values: dict[str, str]) -> Path:
        """The video that the program left, checked for its length."""
        if ended.code != 0:
            raise self._failed(request, ended, ended.how)
        video = Path(values["output"])
        if "output_folder" in self.settings.placeholders:
            videos = sorted(
                p for p in Path(values["output_folder"]).rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES
            )
            if len(videos) > 1:
                names = ", ".join(path.name for path in videos)
                raise self._failed(request, ended, f"left several videos ({names}) in {{output_folder}}")
            video = videos[0] if videos else video
        if not video.is_file():
            raise self._failed(request, ended, "ended without an error, but left no video")
        try:
            refuse_too_short(video, request, self.settings.allowed_missing_frames)
        except WrongLength as error:
            raise self._failed(request, ended, f"made only {error}") from None
        except BadClip:
            raise self._failed(
                request, ended, f"left {video.name}, which cannot be read as a video"
            ) from None
        return video

    def _failed(self, request: SynthesisRequest, ended: Ended, reason: str) -> BadClip:
        output = f"its last line is {ended.last_line!r}" if ended.last_line else "it printed nothing"
        see = f", its log {request.log}" if request.log else ""
        return BadClip(f"{request.name}: the command {reason}; {output}{see}.")


def _find_program(settings: CommandSettings) -> Path:
    name = settings.arguments[0]
    path = settings.folder / Path(name).expanduser() if "/" in name else name
    program = shutil.which(path, path=settings.variables.get("PATH"))
    if program is None:
        where = "no program that can be run" if "/" in name else "not on the PATH"
        raise KPBEError(
            f"{path} is {where}: install the program, or name it by its path in `command` "
            f"({settings.command!r})."
        )
    return Path(program).absolute()
