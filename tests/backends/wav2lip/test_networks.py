"""The networks against the reference's numbers, and as something that trains."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from kpbe.backends.wav2lip import QualityDiscriminator, SyncNet, Wav2LipGenerator, mouth_window
from kpbe.backends.wav2lip.faces import generator_input, painted_faces, paste_face, prepare_face_window
from kpbe.backends.wav2lip.networks import scaled_channels
from kpbe.backends.wav2lip.windows import mel_batch, speech_mel

Network = TypeVar("Network", bound=nn.Module)


def filled(golden, name: str, network: Network) -> Network:
    weights = golden.load_filled(name, {key: t.shape for key, t in network.state_dict().items()})
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    return network.eval()


@pytest.fixture(scope="module")
def reference(golden):
    return golden("wav2lip_nets")


@pytest.fixture(scope="module")
def generator(golden):
    return filled(golden, "wav2lip", Wav2LipGenerator())


@pytest.fixture(scope="module")
def faces(golden, reference):
    """(2, 3, 96, 96) in [0, 1], channels as they are."""
    label = str(reference["input_label"])
    return torch.from_numpy(
        np.stack([golden.fill.image_chw(f"w2l/face{i}/{label}", 96, 96) for i in range(2)])
    )


@pytest.fixture(scope="module")
def mel(golden, reference):
    """(2, 1, 80, 16), through our own mel front end."""
    wave = golden.fill.waveform(f"w2l/wave/{reference['input_label']}", 2.0)
    return mel_batch(speech_mel(wave), [int(start) for start in reference["mel_starts"]])


def test_generator_gives_the_reference_embeddings_features_and_faces(
    golden, reference, generator, faces, mel
):
    with torch.inference_mode():
        audio = generator.encode_audio(mel)
        features = generator.encode_face(generator_input(faces, faces))
        output = generator(mel, generator_input(faces, faces))
    golden.compare(reference, "audio_embedding", audio.flatten(1))
    for level, feature in enumerate(features):
        golden.compare(reference, f"face_encoder_{level}", feature)
    golden.compare(reference, "output", output)


def test_windows_of_frames_give_the_same_faces_as_single_frames(generator, faces, mel):
    single = generator_input(faces, faces)
    with torch.inference_mode():
        windows = generator(mel[None], single.transpose(0, 1)[None])
        frames = generator(mel, single)
    assert windows.shape == (1, 3, 2, 96, 96)
    torch.testing.assert_close(windows[0].transpose(0, 1), frames, rtol=0, atol=5e-5)


def test_sync_expert_gives_the_reference_embeddings_and_losses(golden, reference, mel):
    expert = filled(golden, "wav2lip_syncnet", SyncNet())
    label = str(reference["input_label"])
    window = np.stack(
        [[golden.fill.image_chw(f"w2l/sync/{label}/{b}/{t}", 96, 96) for t in range(5)] for b in range(2)]
    )
    with torch.inference_mode():
        audio, face = expert(mel, mouth_window(torch.from_numpy(window).transpose(1, 2)))
        golden.compare(reference, "sync_audio_embedding", audio)
        golden.compare(reference, "sync_face_embedding", face)
        golden.compare(reference, "sync_cosine", (audio * face).sum(1))
        golden.compare(reference, "sync_loss_y1", expert.loss((audio * face).sum(1), 1.0).double())
        golden.compare(reference, "sync_loss_y0", expert.loss((audio * face).sum(1), 0.0).double())


def test_quality_discriminator_gives_the_reference_scores(golden, reference, faces):
    discriminator = filled(golden, "wav2lip_disc", QualityDiscriminator())
    with torch.inference_mode():
        quality = discriminator(faces)
        loss = nn.functional.binary_cross_entropy(quality, torch.ones_like(quality))
    golden.compare(reference, "disc_quality", quality)
    golden.compare(reference, "disc_perceptual_loss", loss.double())


def test_painting_crops_back_matches_the_reference_within_one_grey_level(golden, reference, generator, mel):
    label = str(reference["input_label"])
    rgb_frames = [golden.fill.image(f"w2l/frame{i}/{label}", 120, 160)[..., ::-1] for i in range(2)]
    boxes = reference["paste_coords_y1y2x1x2"][:, [2, 0, 3, 1]]
    crops = prepare_face_window(rgb_frames, boxes)
    with torch.inference_mode():
        painted = painted_faces(generator(mel, generator_input(crops, crops)))
    pasted = [
        paste_face(frame, face, box) for frame, face, box in zip(rgb_frames, painted, boxes, strict=True)
    ]
    bgr_crops = (crops * 255).round().permute(0, 2, 3, 1).numpy()
    bgr_pasted = np.stack(pasted)[..., ::-1]
    for got, key in (
        (bgr_crops.reshape(-1)[::17], "paste_resized_input_sample"),
        (bgr_pasted.reshape(-1)[::7], "paste_output_sample_stride7"),
    ):
        assert np.abs(got.astype(int) - reference[key].astype(int)).max() <= 1
    assert bgr_pasted.mean() == pytest.approx(float(reference["paste_output_mean"]), abs=0.01)


def test_narrow_channels_are_scaled_but_never_fewer_than_eight():
    assert [scaled_channels(c, 1.0) for c in (16, 384, 512)] == [16, 384, 512]
    assert [scaled_channels(c, 0.25) for c in (16, 64, 384, 512)] == [8, 16, 96, 128]


def test_narrow_generator_learns_to_paint_a_mouth():
    torch.manual_seed(0)
    generator = Wav2LipGenerator(width_multiplier=0.125)
    faces = torch.rand(4, 3, 12, 12).repeat_interleave(8, 2).repeat_interleave(8, 3)
    mel = torch.randn(4, 1, 80, 16)
    optimiser = torch.optim.Adam(generator.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = (generator(mel, generator_input(faces, faces.roll(1, 0))) - faces).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_residual_generator_starts_from_the_face_that_it_is_shown():
    """It starts from the upper half of the face to paint on and the lower half of the reference.

    What it paints depends on the sound at once.
    """
    torch.manual_seed(0)
    generator = Wav2LipGenerator(0.125, residual=True)
    faces, references = torch.rand(2, 4, 3, 96, 96)
    shown = torch.cat((faces[:, :, :48], references[:, :, 48:]), 2)
    mel = torch.randn(4, 1, 80, 16)
    with torch.inference_mode():
        painted = generator(mel, generator_input(faces, references))
        other = generator(mel.roll(1, 0), generator_input(faces, references))
    assert (painted - shown).abs().mean() < 0.1
    assert torch.equal(painted[:, :, :48], shown[:, :, :48]), "nothing above the middle"
    assert painted.min() >= 0 and painted.max() <= 1
    assert not torch.equal(painted, other)


def test_the_sound_reaches_every_size_of_a_residual_decoder():
    torch.manual_seed(0)
    generator = Wav2LipGenerator(0.125, residual=True)
    generator(torch.randn(4, 1, 80, 16), torch.rand(4, 6, 96, 96)).sum().backward()
    assert len(generator.modulations) == 6
    for name, weights in generator.modulations.named_parameters():
        assert weights.grad is not None and weights.grad.abs().max() > 0, name
