"""A stand-in for a talking-head method, written with PyAV alone.

A bar over the source picture follows the loudness.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import numpy as np


def main() -> None:
    options = parsed()
    if options.journal:
        with options.journal.open("a") as journal:
            journal.write(f"{options.clip_id}\n")
    print("loading \x1b[1mnothing\x1b[0m", flush=True)
    if options.slow and options.slow in options.clip_id and not options.once.exists():
        options.once.touch()
        hang(options)
    {"hang": hang, "fail": fail, "nothing": lambda _: None, "garbage": garbage, "talk": talk}[options.do](
        options
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--do", default="talk", choices=["talk", "fail", "hang", "nothing", "garbage"])
    for name in ("image", "audio", "pose-video", "video", "output", "journal", "once", "pids"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--output-folder", type=Path)
    parser.add_argument("--clip-id", default="")
    parser.add_argument("--slow", help="hang the first time for the clip whose id has this part")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--size", type=int, help="side of the square output")
    parser.add_argument("--more", type=int, default=0, help="frames more than the audio needs")
    parser.add_argument("--videos", type=int, default=1)
    return parser.parse_args()


def hang(options: argparse.Namespace) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    if options.pids:
        waiting = options.pids.with_suffix(".part")
        waiting.write_text(f"{os.getpid()} {child.pid}")
        waiting.replace(options.pids)
    print("still thinking", flush=True)
    time.sleep(300)


def fail(_: argparse.Namespace) -> None:
    print("step 1\rstep 2")
    print("CUDA out of memory\n\n", file=sys.stderr)
    sys.exit(3)


def garbage(options: argparse.Namespace) -> None:
    options.output.write_bytes(b"no video at all")


def talk(options: argparse.Namespace) -> None:
    with av.open(f"file:{options.video or options.image}") as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with wave.open(str(options.audio), "rb") as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    if options.pose_video:
        with av.open(f"file:{options.pose_video}") as container:
            print(
                "pose",
                container.streams.video[0].codec_context.name,
                sum(1 for _ in container.decode(video=0)),
            )
    count = round(len(samples) / 16000 * options.fps) + options.more
    targets = [options.output] if options.output else []
    if options.output_folder:
        deeper = options.output_folder / "v1"
        deeper.mkdir()
        targets = [deeper / f"{i}.mp4" for i in range(options.videos)]
    for target in targets:
        write(target, picture, samples, count, options)


def write(
    target: Path, picture: np.ndarray, samples: np.ndarray, count: int, options: argparse.Namespace
) -> None:
    side = options.size or picture.shape[0]
    with av.open(f"file:{target}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(options.fps), options={"qp": "0"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        hop = max(1, len(samples) // max(1, count))
        for index in range(count):
            shown = picture.copy()
            loudness = (
                np.abs(samples[index * hop : (index + 1) * hop].astype(float)).mean() if len(samples) else 0
            )
            shown[: int(loudness / 32768 * len(shown))] = 255
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(side, side, "yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
