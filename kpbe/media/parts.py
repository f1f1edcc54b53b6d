"""A long video in parts, so that work on it goes on after a `kill -9`.

The parts lie in a folder beside the video, `<name>.parts`, each written whole; at the end they are joined
without coding them again, and the folder is removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from kpbe.core.files import UNFINISHED, whole, write_json
from kpbe.errors import KPBEError
from kpbe.media.sound_encoder import SoundEncoder
from kpbe.media.sound_track import SoundTrack
from kpbe.media.video_writer import Codec, VideoWriter, begin_container

FRAMES_OF_PART = 250


def parts_folder(path: Path) -> Path:
    """Where the parts of a video lie."""
    return path.with_name(f"{path.name}.parts")


def write_in_parts(
    path: Path,
    frames_from: Callable[[int], Iterator[np.ndarray]],
    count: int,
    fps: float,
    made_from: str,
    codec: Codec = "h264",
    audio: SoundTrack | None = None,
) -> int:
    """Write a video part by part; parts of an earlier run that was made from the same are kept.

    Args:
        path: the video, .mp4, .mov or .mkv.
        frames_from: the frames (H, W, 3) uint8 RGB from an index on.
        count: how many there are.
        fps: frames per second.
        made_from: digest of everything the frames depend on.
        codec: see `VideoWriter`.
        audio: sound in step with the video.

    Returns:
        How many frames an earlier run had written.

    Raises:
        KPBEError: the folder of parts was made from something else.
    """
    folder = parts_folder(path)
    record = folder / "made_from.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["made_from"] != made_from:
        raise KPBEError(
            f"{folder} was begun with other files or options: repeat those of then, or remove the folder."
        )
    write_json(record, {"made_from": made_from})
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        unfinished.unlink()
    suffix = ".mkv" if codec == "ffv1" else ".mp4"
    parts = [folder / f"{start:08d}{suffix}" for start in range(0, count, FRAMES_OF_PART)]
    done = next((k for k, part in enumerate(parts) if not part.is_file()), len(parts))
    frames = frames_from(done * FRAMES_OF_PART) if done < len(parts) else iter(())
    for part in parts[done:]:
        with VideoWriter(part, fps, codec, quick=True) as writer:
            for frame in islice(frames, FRAMES_OF_PART):
                writer.write(frame)
    join(parts, path, fps, audio)
    shutil.rmtree(folder)
    return min(done * FRAMES_OF_PART, count)


def join(parts: list[Path], path: Path, fps: float, audio: SoundTrack | None = None) -> None:
    """One video of several that were written with the same settings; whole or not at all.

    Args:
        parts: in order, of one size and rate.
        path: the video.
        fps: their rate.
        audio: sound in step with the whole.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with whole(path) as temporary, begin_container(temporary) as container:
        stream: Any = None
        sound: SoundEncoder | None = None
        start = 0
        for part in parts:
            with av.open(f"file:{part}") as source:
                track = source.streams.video[0]
                if stream is None:
                    stream = container.add_stream_from_template(track)
                    stream.time_base = 1 / rate
                    sound = None if audio is None else SoundEncoder(audio, container, path)
                frames = 0
                for packet in source.demux(track):
                    if packet.dts is None or packet.pts is None:
                        continue
                    frames += 1
                    packet.pts = start + round(packet.pts * packet.time_base * rate)
                    packet.dts = start + round(packet.dts * packet.time_base * rate)
                    packet.duration = 1
                    packet.time_base = 1 / rate
                    packet.stream = stream
                    container.mux(packet)
                start += frames
                if sound is not None:
                    sound.write_until(start / rate)
        if sound is not None:
            sound.finish(start / rate)
