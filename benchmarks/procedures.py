"""Our synthesis and the reference's as jobs on one talk; making a job is not timed, running it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.reference_pcavs import PCAVSReference
from benchmarks.reference_s3fd import S3FD
from benchmarks.reference_wav2lip import Wav2LipReference
from benchmarks.speech import FPS, Finder, SpokenVideo
from benchmarks.stopwatch import Stopwatch
from kpbe.backends.base import Backend, Feed, SynthesisRequest
from kpbe.backends.pcavs import PCAVS, PCAVSNetworks, load_networks
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.backends.synthesize import write_speech_video
from kpbe.backends.wav2lip import Wav2Lip, Wav2LipGenerator, load_generator
from kpbe.backends.wav2lip.settings import Wav2LipSettings

Job = Callable[[Path, Stopwatch], Any]
"""Writes the talking video to a path, and times its parts."""

_NO_TRAINING = {"schedule": {"steps": 1, "batch_size": 1}}


@dataclass(frozen=True)
class Sizes:
    """Which networks are run.

    Attributes:
        width_multiplier: of random networks; 1.0 is the official size.
        image_size: of random PC-AVS networks; 224 is the official size.
        wav2lip: a checkpoint instead of random weights.
        pcavs: a checkpoint instead of random weights.
    """

    width_multiplier: float = 1.0
    image_size: int = 224
    wav2lip: Path | None = None
    pcavs: Path | None = None

    def generator(self, device: torch.device) -> Wav2LipGenerator:
        """Wav2Lip's network."""
        if self.wav2lip is not None:
            return load_generator(self.wav2lip, device)
        torch.manual_seed(0)
        return Wav2LipGenerator(self.width_multiplier).to(device).eval()

    def networks(self, device: torch.device) -> PCAVSNetworks:
        """PC-AVS's networks."""
        if self.pcavs is not None:
            return load_networks(self.pcavs, device)
        torch.manual_seed(0)
        return PCAVSNetworks(self.width_multiplier, self.image_size).to(device).eval()


def our_wav2lip(
    generator: Wav2LipGenerator,
    talk: SpokenVideo,
    feed: Feed,
    detector: Finder,
    device: torch.device,
) -> Job:
    """KPBE's Wav2Lip; the detector `known` uses the talk's boxes."""
    sections = {"sync_expert": _NO_TRAINING, "train": _NO_TRAINING}
    settings = Wav2LipSettings.model_validate({"feed": feed, "detector": detector, **sections})
    return partial(_speak, Wav2Lip(generator, settings, str(device)), talk, feed, detector == "known")


def our_pcavs(networks: PCAVSNetworks, talk: SpokenVideo, device: torch.device) -> Job:
    """KPBE's PC-AVS: the talk's first frame speaks, its frames turn the head, its landmarks align both."""
    settings = PCAVSSettings.model_validate({"sync": _NO_TRAINING, "train": _NO_TRAINING})
    return partial(_speak, PCAVS(networks, settings, str(device)), talk, "source_image", True)


def _speak(
    backend: Backend,
    talk: SpokenVideo,
    feed: Feed,
    faces_known: bool,
    out: Path,
    watch: Stopwatch | None = None,
) -> None:
    own = slice(0, 1) if feed == "source_image" else slice(None)
    request = SynthesisRequest(
        name="talk",
        source_frames=[talk.first] if feed == "source_image" else talk.frames,
        wave=talk.wave,
        fps=FPS,
        boxes=talk.boxes[own] if faces_known else None,
        landmarks=talk.landmarks[own],
        pose_frames=talk.frames,
        pose_landmarks=talk.landmarks,
    )
    write_speech_video(out, backend, request, talk.wav)


def reference_wav2lip(
    generator: Wav2LipGenerator, talk: SpokenVideo, feed: Feed, detector: S3FD | None, device: torch.device
) -> Job:
    """The reference's Wav2Lip."""
    return Wav2LipReference(generator, talk, feed == "source_image", detector, device).run


def reference_pcavs(networks: PCAVSNetworks, talk: SpokenVideo, folder: Path, device: torch.device) -> Job:
    """The reference's PC-AVS."""
    return PCAVSReference(networks, talk, folder, device).run
