"""Enhancing videos by hand: any talking video, a picture of the person, and optionally a video of the head
pose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kpbe.core.files import arrays_sha256, fingerprint
from kpbe.data.people import FaceChoice
from kpbe.errors import BadClip, KPBEError
from kpbe.frontend.geometry import HeadPose
from kpbe.frontend.model import Decomposition, Frontend
from kpbe.inference.driving import Driver, Driving, Motion, PoseEnd, extended, motion_of, smoothed
from kpbe.inference.framing import FramedVideo, Framing, face_of, framed, framed_picture
from kpbe.inference.free_view import decompose_image, images_at_once, own_view
from kpbe.inference.novel_view import head_poses
from kpbe.inference.paste_back import paste_back
from kpbe.inference.silence import speaking_frames
from kpbe.inference.viewpoints import Viewpoints
from kpbe.media.images import is_picture, read_image
from kpbe.media.parts import write_in_parts
from kpbe.media.prefetch import prefetched
from kpbe.media.recording import Recording
from kpbe.media.sound_track import NoAudio, SoundTrack, find_sound
from kpbe.media.video_writer import Codec, VideoWriter, check_output

STANDARD_RATES = (12.0, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 48.0, 50.0, 60000 / 1001, 60.0)
"""Frames per second at which a video of varying rate is sampled: the nearest to its usual one."""

LARGEST_FPS = 120.0

CANDIDATES = 24
"""Frames of a video among which the best source frame is looked for."""

LIKELY_POSES = 6
"""Of these candidates, those nearest to the usual head pose, the sharpest is taken."""


@dataclass(frozen=True)
class Options:
    """How a video is enhanced.

    Attributes:
        framing: how pictures and videos become the square that the frontend is shown.
        face: whose face is meant, in the talking video.
        paste: whether the face is put back into the talking video's frames; else the result is the source's
            square. None: where the talking video shows more than a face and the head pose is its own.
        driving: which parts of the talking video move the source, and how.
        pose_end: what happens where the pose video is shorter.
        best_source_frame: of a source video, take the frame that fits the talking video best, in place of the
            first with a face.
        close_lips: in silence the lips are the source's.
        audio_track: which audio track, 1 is the first; None takes the file's default.
        fps: of the result; None is the talking video's own.
        batch_size: frames rendered at once; fewer where they are large.
        resume: write in parts and go on with those of an earlier run.
    """

    framing: Framing = "auto"
    face: FaceChoice = "auto"
    paste: bool | None = None
    driving: Driving = field(default_factory=Driving)
    pose_end: PoseEnd = "cut"
    best_source_frame: bool = False
    close_lips: bool = False
    audio_track: int | None = None
    fps: float | None = None
    batch_size: int = 16
    resume: bool = False


DEFAULTS = Options()


@dataclass(frozen=True)
class Enhanced:
    """What was written.

    Attributes:
        path: the video.
        frames: how many.
        fps: frames per second.
        notes: sentences that the user should read.
    """

    path: Path
    frames: int
    fps: float
    notes: tuple[str, ...] = ()


def enhance_video(
    frontend: Frontend,
    talking: Path,
    source: Path | None,
    out: Path,
    pose: Path | None = None,
    viewpoints: Viewpoints | None = None,
    options: Options = DEFAULTS,
    progress: Callable[[int, int], object] | None = None,
) -> Enhanced:
    """Enhance a talking video, or show it from other viewpoints (paper IV.F); whole or not at all.

    Frames are decoded, rendered and encoded side by side, never all held in memory. The result has the
    talking video's size where the face is put back into it, else that of the source's square.

    Args:
        frontend: trained networks in eval mode.
        talking: the backend's video; gives expression and sound (a .wav of the same name beside a mute video
            counts).
        source: picture or video of the person; None takes the best frame of the talking video.
        out: .mp4 or .mov for people, .mkv without loss.
        pose: video of the head pose; `talking` itself when None.
        viewpoints: the head pose, where no video gives it; what it leaves open stays that of `source`.
        options: everything else.
        progress: told after each frame how many are done, and of how many.

    Raises:
        KPBEError: `out` is one of the inputs or no video, or options contradict each other.
        BadClip: a file cannot be read, shows no face where one is asked for, or several.
    """
    check_output(out, [path for path in (talking, source, pose) if path is not None])
    if pose is not None and viewpoints is not None:
        raise KPBEError(f"{pose} and a viewpoint both give the head pose: leave one of them out.")
    if viewpoints is not None and options.driving.relative:
        raise KPBEError("relative motion and a viewpoint both give the head pose: leave one of them out.")
    recording = Recording(talking)
    fps = usual_rate(recording) if options.fps is None else options.fps
    talk = framed(recording, fps, options.framing, options.face)
    work = _Work(frontend, talk, source, pose, viewpoints, options)
    sound = sound_of(talking, options.audio_track, recording)
    frames = work.frames(sound)
    codec: Codec = "ffv1" if out.suffix.lower() == ".mkv" else "h264"

    def counted(stream: Iterator[np.ndarray], start: int) -> Iterator[np.ndarray]:
        for index, frame in enumerate(stream, start + 1):
            yield frame
            if progress is not None:
                progress(index, work.count)

    if options.resume:
        digest = fingerprint(
            *(path for path in (talking, source, pose) if path is not None),
            {**asdict(options), "driving": {**asdict(options.driving), "take": sorted(options.driving.take)}},
            repr(viewpoints),
            arrays_sha256(parameter.detach().cpu().numpy() for parameter in frontend.parameters()),
        )
        write_in_parts(
            out, lambda start: counted(frames(start), start), work.count, fps, digest, codec, sound
        )
    else:
        with (
            closing(prefetched(frames(0))) as stream,
            VideoWriter(out, fps, codec, audio=sound, quick=True) as writer,
        ):
            for frame in counted(stream, 0):
                writer.write(frame)
    return Enhanced(out, work.count, fps, tuple(dict.fromkeys([*_colour_notes(recording), *work.notes])))


def usual_rate(recording: Recording) -> float:
    """The constant rate that stands for a video's own, in frames per second."""
    info = recording.info
    if info.constant_fps:
        return min(info.fps, LARGEST_FPS)
    steps = np.diff(recording.times)
    usual = 1 / float(np.median(steps)) if len(steps) else info.fps
    return min(STANDARD_RATES, key=lambda rate: abs(rate - usual))


def sound_of(video: Path, track: int | None = None, recording: Recording | None = None) -> SoundTrack | None:
    """A video's sound: its own, or a .wav of the same name; None where there is none."""
    try:
        return find_sound(video, track, None if recording is None else recording.info)
    except NoAudio:
        return None


def read_portrait(path: Path, framing: Framing = "auto", face: FaceChoice = "auto") -> np.ndarray:
    """The frontend's view (S, S, 3) uint8 RGB of a picture, or of a video's first frame with a face, at its
    own size.

    Raises:
        BadClip: the file cannot be read, shows no face where one is asked for, or several.
    """
    if is_picture(path):
        return framed_picture(read_image(path), framing, str(path), face)
    return next(iter(framed(Recording(path), 25.0, framing, face)))


def framed_video(path: Path, fps: float, framing: Framing) -> FramedVideo:
    """The frames of a video at `fps`, each the frontend's view (S, S, 3) uint8 RGB, at the video's own size.

    Raises:
        BadClip: it cannot be read, or shows no face where one is asked for, or several.
    """
    return framed(Recording(path), fps, framing)


class _Work:
    """Everything that is known before the first frame is rendered."""

    def __init__(
        self,
        frontend: Frontend,
        talk: FramedVideo,
        source: Path | None,
        pose: Path | None,
        viewpoints: Viewpoints | None,
        options: Options,
    ) -> None:
        self.frontend, self.talk, self.options = frontend, talk, options
        self.fps = talk.frames.fps
        self.notes = list(talk.notes)
        driving = options.driving
        self.paste = self._pastes(pose is not None or viewpoints is not None)
        self.count = len(talk)
        motion = self._motion(talk) if driving.smoothing > 0 or driving.relative else None
        picture = self._source_picture(source)
        self.source = decompose_image(frontend, picture)
        other = self._pose_video(pose)
        initial = self._initial(motion, other) if driving.relative else None
        self.driver = Driver(frontend, self.source, driving, initial=initial)
        self.expression = None
        self.pose: HeadPose | None = None
        if motion is not None and (driving.smoothing or driving.relative):
            motion = smoothed(motion, driving.smoothing, self.fps)
            self.expression, self.pose = motion.expression, motion.pose(slice(None))
        if other is not None:
            index = extended(len(other), self.count, options.pose_end)
            self._say_pose_end(pose, len(other))
            self.count = len(index)
            self.pose = other.pose(torch.from_numpy(index))
        if viewpoints is not None:
            rows = list(islice(viewpoints, self.count))
            if viewpoints.frames not in (None, self.count):
                both = f"{viewpoints.frames} views for the {self.count} frames of {talk.name}"
                self.notes.append(f"{both}: the shorter ends the video")
            self.count = len(rows)
            self.pose = head_poses(frontend, rows, own_view(frontend, self.source))

    def _pastes(self, other_pose: bool) -> bool:
        possible = not self.talk.is_crop and bool(self.talk.shows_face.any())
        if self.options.paste is None:
            return possible and not other_pose
        if self.options.paste and not possible:
            raise KPBEError(
                f"{self.talk.name} shows no face to put back, or nothing besides it: leave out --paste."
            )
        return self.options.paste

    def _motion(self, video: FramedVideo) -> Motion:
        return motion_of(self.frontend, video, self.options.batch_size)

    def _source_picture(self, source: Path | None) -> np.ndarray:
        options = self.options
        if source is None:
            return next(self.talk.from_frame(self._best_frame(self.talk)))
        if is_picture(source):
            return self._portrait(read_image(source), str(source))
        video = framed(Recording(source), 25.0, options.framing)
        self.notes += video.notes
        if options.best_source_frame:
            index = self._best_frame(video)
        else:
            index = int(np.argmax(video.shows_face)) if video.shows_face.any() else 0
            if index:
                self.notes.append(
                    f"{source}: the first frame with a face, at {index / 25:.2f} s, is the source"
                )
        if not self.paste:
            return next(video.from_frame(index))
        return self._portrait(next(iter(video.frames.from_frame(index))), str(source))

    def _portrait(self, picture: np.ndarray, name: str) -> np.ndarray:
        """The frontend's view of the source, as that of the talking video where it is put back into it."""
        if not self.paste:
            return framed_picture(picture, self.options.framing, name)
        face = face_of(picture, name)
        if face is None:
            raise BadClip(f"{name} shows no face to put into {self.talk.name}: take another picture.")
        return self.talk.show_alike(picture, face)

    def _best_frame(self, video: FramedVideo) -> int:
        """Of the frames whose head pose is near the usual one of the talking video, the sharpest."""
        chosen, pictures, motion = self._candidates(video)
        target = motion if video is self.talk else self._candidates(self.talk)[2]
        likeness = (motion.rotation * target.rotation.mean(dim=0)).sum((1, 2))
        near = likeness.argsort(descending=True)[:LIKELY_POSES].tolist()
        best = int(chosen[max(near, key=lambda k: _sharpness(pictures[k]))])
        self.notes.append(f"{video.name}: the frame at {best / video.frames.fps:.2f} s is the source picture")
        return best

    def _candidates(self, video: FramedVideo) -> tuple[np.ndarray, list[np.ndarray], Motion]:
        """Some frames with the face, evenly spread: which, their squares, and their motion."""
        possible = np.flatnonzero(video.shows_face) if video.shows_face.any() else np.arange(len(video))
        chosen = possible[np.unique(np.linspace(0, len(possible) - 1, CANDIDATES).round().astype(int))]
        pictures = list(video.some(chosen))
        return chosen, pictures, motion_of(self.frontend, pictures, self.options.batch_size)

    def _pose_video(self, pose: Path | None) -> Motion | None:
        if pose is None:
            return None
        video = framed(Recording(pose), self.fps, self.options.framing)
        self.notes += video.notes
        return smoothed(self._motion(video), self.options.driving.smoothing, self.fps)

    def _initial(self, motion: Motion | None, other: Motion | None) -> Decomposition:
        """What relative motion counts from: the frame whose head pose is nearest to the source's."""
        assert motion is not None
        posed = motion if other is None else other
        nearest = int((posed.rotation * self.source.pose.rotation).sum((1, 2)).argmax())
        at = min(nearest, len(motion) - 1)
        return Decomposition(
            None,
            motion.canonical_keypoints[at : at + 1],
            posed.pose(slice(nearest, nearest + 1)),
            motion.expression[at : at + 1],
        )

    def _say_pose_end(self, pose: Path | None, frames: int) -> None:
        missing = (self.count - frames) / self.fps
        if missing <= 0:
            return
        ways = {"cut": "the result ends there", "loop": "it begins again", "hold": "its last pose is held"}
        way = ways.get(self.options.pose_end, "it goes back and forth")
        self.notes.append(f"{pose} is {missing:.2f} s shorter than {self.talk.name}: {way}")

    def frames(self, sound: SoundTrack | None) -> Callable[[int], Iterator[np.ndarray]]:
        """The frames of the result from any index on."""
        speaks = None
        if self.options.close_lips:
            if sound is None:
                raise BadClip(f"{self.talk.name} has no sound to tell silence from: leave out --close-lips.")
            speaks = speaking_frames(sound, self.count, self.fps)

        def from_frame(start: int) -> Iterator[np.ndarray]:
            return self._pasted(start, speaks) if self.paste else self._squares(start, speaks)

        return from_frame

    def _squares(self, start: int, speaks: np.ndarray | None) -> Iterator[np.ndarray]:
        with closing(prefetched(islice(self.talk.from_frame(start), self.count - start))) as pictures:
            index = start
            while batch := list(islice(pictures, self._batch_size)):
                yield from self._rendered(batch, np.arange(index, index + len(batch)), speaks)
                index += len(batch)

    def _pasted(self, start: int, speaks: np.ndarray | None) -> Iterator[np.ndarray]:
        talk = self.talk
        with closing(prefetched(talk.frames.from_frame(start, self.count))) as frames:
            index = start
            while batch := list(islice(frames, self._batch_size)):
                at = np.arange(index, index + len(batch))
                faces = [k for k, i in enumerate(at) if talk.shows_face[i]]
                squares = [talk.square(batch[k], int(at[k])) for k in faces]
                rendered = self._rendered(squares, at[faces], speaks) if faces else ()
                for k, picture in zip(faces, rendered, strict=True):
                    batch[k] = paste_back(batch[k], picture, talk.squares[at[k]], talk.faces[at[k]])
                yield from batch
                index += len(batch)

    def _rendered(
        self, squares: Sequence[np.ndarray], at: np.ndarray, speaks: np.ndarray | None
    ) -> np.ndarray:
        index = torch.from_numpy(at)
        pose = None if self.pose is None else _poses(self.pose, index)
        expression = None if self.expression is None else self.expression[index]
        return self.driver.render(np.stack(squares), pose, expression, None if speaks is None else speaks[at])

    @property
    def _batch_size(self) -> int:
        return images_at_once(self.options.batch_size, self.source)


def _poses(pose: HeadPose, index: torch.Tensor) -> HeadPose:
    return HeadPose(pose.rotation[index], pose.translation[index], pose.degrees[index])


def _sharpness(picture: np.ndarray) -> float:
    """Variance of the Laplacian of a picture's grey levels."""
    import cv2

    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _colour_notes(recording: Recording) -> list[str]:
    if recording.info.hdr is None:
        return []
    return [f"{recording.info.path} has a high dynamic range ({recording.info.hdr}): it is brought to BT.709"]
