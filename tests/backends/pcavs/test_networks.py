"""The networks against the reference's numbers, and as something that trains at small sizes."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from kpbe.backends.pcavs import (
    MOUTH_GAIN,
    PCAVSNetworks,
    from_network,
    mel_windows,
    to_network,
)

NETS = 3e-4
NOISE = 1e-4


def test_identity_equals_the_reference(golden, reference, networks, pictures):
    with torch.inference_mode():
        identity = networks.encode_identity(pictures)
    golden.compare(reference, "id_vector", identity.vector, NETS)
    golden.compare(reference, "id_map", identity.map, NETS)


def test_several_pictures_of_a_person_are_averaged(networks, pictures):
    with torch.inference_mode():
        alone = networks.encode_identity(pictures)
        together = networks.encode_identity(pictures[None])
    torch.testing.assert_close(together.vector[0], alone.vector.mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(together.map[0], alone.map.mean(0), rtol=0, atol=1e-4)


def test_pose_and_mouth_of_frames_equal_the_reference(golden, reference, networks, pictures):
    encoder = networks.non_identity
    with torch.inference_mode():
        features = encoder(pictures)
        mouth = encoder.mouth(features)
        golden.compare(reference, "noid_feature", features, NETS)
        golden.compare(reference, "headpose_512", encoder.to_headpose(features), NETS)
        golden.compare(reference, "headpose_12", networks.encode_pose(pictures), NETS)
        golden.compare(reference, "mouth_512", networks.encode_mouth_from_frames(pictures), NETS)
        golden.compare(reference, "mouth_500", encoder.embed_mouth(mouth), NETS)
        pose, same_mouth = networks.encode_pose_and_mouth(pictures)
    golden.compare(reference, "headpose_12", pose, NETS)
    assert torch.equal(same_mouth, mouth)


def test_mouth_of_audio_equals_the_reference(golden, reference, networks, mel):
    attention = []
    hook = networks.audio.model.attention.register_forward_hook(lambda *call: attention.append(call[-1]))
    with torch.inference_mode():
        mouth = networks.encode_mouth_from_audio(mel_windows(mel, reference["audio_starts"].tolist()))
        embedded = networks.non_identity.embed_mouth(mouth * MOUTH_GAIN)
    hook.remove()
    golden.compare(reference, "audio_attention", attention[0], NETS)
    golden.compare(reference, "audio_mouth_512", mouth, NETS)
    golden.compare(reference, "audio_mouth_500_weight1.2", embedded, NETS)


@pytest.fixture(scope="module")
def drawn_from(golden, reference):
    """Style and start map of the generator's own fixtures."""
    label = str(reference["input_label"])
    style = golden.fill.normal(f"pcavs/style/{label}", (2, 2560), 0.7)
    start = golden.fill.normal(f"pcavs/idmap/{label}", (2, 512, 7, 7), 1.0)
    return torch.from_numpy(style), torch.from_numpy(start)


def test_every_layer_of_the_generator_equals_the_reference(golden, reference, networks, drawn_from):
    generator, outputs = networks.generator, defaultdict(list)
    layers = {"G_conv1": generator.conv1}
    layers |= {f"G_convs_{i}": layer for i, layer in enumerate(generator.convs)}
    layers |= {f"G_skip_{i}": layer for i, layer in enumerate(generator.to_rgbs)}
    hooks = [
        layer.register_forward_hook(lambda *call, key=key: outputs[key].append(call[-1].clone()))
        for key, layer in layers.items()
    ]
    with torch.inference_mode():
        image = generator(*drawn_from)
    for hook in hooks:
        hook.remove()
    for key, parts in outputs.items():
        golden.compare(reference, key, torch.cat(parts).contiguous(), NETS)
    golden.compare(reference, "G_image", image.contiguous(), NETS)


def test_one_picture_at_a_time_equals_the_reference_too(golden, reference, networks, drawn_from):
    style, start = drawn_from
    with torch.inference_mode():
        images = [networks.generator(style[i : i + 1], start[i : i + 1]) for i in range(2)]
    golden.compare(reference, "G_image", torch.cat(images).contiguous(), NETS)


def test_generator_equals_the_reference_while_it_is_trained(golden, reference, networks, drawn_from):
    golden.compare(reference, "G_image", networks.generator(*drawn_from).detach().contiguous(), NETS)


def test_stored_noise_equals_the_reference(golden, networks, drawn_from):
    fixture = golden("pcavs_nets_noise")
    generator = deepcopy(networks.generator)
    state = generator.state_dict()
    names = {name: (1,) for name in state if name.endswith("noise.weight")}
    for name, weight in golden.fill.fill_net("pcavs_netG_noise", names).items():
        state[name].copy_(torch.from_numpy(weight))
    with torch.inference_mode():
        stored = generator(*drawn_from)
        given = generator(*drawn_from, noise=[buffer for _, buffer in generator.noises.named_buffers()])
        off = generator(*drawn_from, noise="off")
    golden.compare(fixture, "G_image_noise_buffers", stored.contiguous(), NOISE)
    assert torch.equal(stored, given)
    assert not torch.allclose(stored, off, atol=0.01)


def test_whole_pipeline_equals_the_reference(golden, reference, networks, pictures, mel):
    with torch.inference_mode():
        identity = networks.encode_identity(pictures[:1])
        mouth = networks.encode_mouth_from_audio(mel_windows(mel, [int(reference["audio_starts"][0])]))
        pose = networks.encode_pose(pictures)
        fixed = networks.render(identity, mouth, pose[:1], mouth_gain=MOUTH_GAIN)
        both = networks.render(identity, mouth.expand(2, -1), pose, mouth_gain=MOUTH_GAIN)
    golden.compare(reference, "pipeline_ref_pose", fixed.contiguous(), NETS)
    golden.compare(reference, "pipeline_ref_pose", both[:1].contiguous(), NETS)
    golden.compare(reference, "pipeline_driven_pose", both[1:].contiguous(), NETS)


# -- small sizes --


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    return PCAVSNetworks(0.25, 64)


def test_narrow_networks_have_narrow_shapes(narrow):
    narrow.eval()
    faces, windows = torch.randn(2, 3, 64, 64).clamp(-1, 1), torch.rand(2, 1, 80, 20)
    with torch.inference_mode():
        identity = narrow.encode_identity(faces)
        pose, mouth = narrow.encode_pose(faces), narrow.encode_mouth_from_audio(windows)
        image = narrow.render(identity, mouth, pose)
        shared = narrow.render(narrow.encode_identity(faces[:1]), mouth, pose)
        mouth_of_frames = narrow.encode_mouth_from_frames(faces)
    assert identity.vector.shape == (2, 512) and identity.map.shape == (2, 128, 2, 2)
    assert pose.shape == (2, 12)
    assert mouth.shape == mouth_of_frames.shape == (2, 128)
    assert image.shape == (2, 3, 64, 64) and bool((image.abs() <= 1).all())
    torch.testing.assert_close(shared[0], image[0], rtol=0, atol=1e-4)
    assert narrow.generator.style_dim == 512 + 125 + 12


@pytest.mark.parametrize("image_size", [32, 100])
def test_impossible_sizes_are_refused(image_size):
    with pytest.raises(ValueError, match="multiple of 32"):
        PCAVSNetworks(0.25, image_size)


def test_noise_is_repeatable_by_default_and_drawn_on_request(narrow):
    narrow.eval()
    for conv in (narrow.generator.conv1, *narrow.generator.convs):
        torch.nn.init.constant_(conv.noise.weight, 0.3)
    style, start = torch.randn(2, narrow.generator.style_dim), torch.randn(2, 128, 2, 2)
    with torch.inference_mode():
        assert torch.equal(narrow.generator(style, start), narrow.generator(style, start))
        drawn = [narrow.generator(style, start, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
        with pytest.raises(ValueError, match="11 maps"):
            narrow.generator(style, start, [torch.zeros(1, 1, 2, 2)])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-3)


def test_narrow_networks_learn_to_draw_a_face_from_its_parts():
    torch.manual_seed(0)
    networks = PCAVSNetworks(0.125, 64).train()
    faces = torch.rand(2, 3, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3) * 2 - 1
    windows = torch.rand(2, 1, 80, 20)
    optimiser = torch.optim.Adam(networks.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        pose, mouth = networks.encode_pose_and_mouth(faces)
        heard = networks.encode_mouth_from_audio(windows)
        drawn = networks.render(networks.encode_identity(faces), heard, pose, noise=torch.Generator())
        loss = F.l1_loss(drawn, faces) + 0.1 * F.l1_loss(heard, mouth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    unmoved = [name for name, p in networks.named_parameters() if p.grad is None]
    assert not unmoved


def test_a_hidden_mouth_cannot_come_from_the_pose_frame():
    """The pose code is blind to the mouth and sees the rest; the official model sees both."""
    torch.manual_seed(0)
    hiding, official = PCAVSNetworks(0.125, 64, hidden_mouth=True).eval(), PCAVSNetworks(0.125, 64).eval()
    frames = torch.rand(1, 3, 64, 64) * 2 - 1
    other_mouth, other_eyes = frames.clone(), frames.clone()
    other_mouth[:, :, 34:48, 20:44] = 1
    other_eyes[:, :, 14:22, 16:48] = 1
    with torch.inference_mode():
        for networks, blind in ((hiding, True), (official, False)):
            pose = networks.encode_pose(frames)
            assert torch.equal(networks.encode_pose(other_mouth), pose) is blind
            assert not torch.equal(networks.encode_pose(other_eyes), pose)
            both, seen = networks.encode_pose_and_mouth(other_mouth)
            assert torch.equal(both, networks.encode_pose(other_mouth))
            assert torch.equal(seen, networks.encode_mouth_from_frames(other_mouth)), "the mouth is seen"


# -- pictures --


def test_pictures_survive_the_way_into_the_networks_and_back(golden):
    pictures = [golden.fill.image(f"pcavs/there/{i}", 64, 64) for i in range(2)]
    tensor = to_network(pictures)
    assert tensor.shape == (2, 3, 64, 64) and tensor.min() >= -1 and tensor.max() <= 1
    assert (from_network(tensor) == pictures).all()
