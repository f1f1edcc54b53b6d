"""Tables between our names of the frontend's weights and those of public OSFV checkpoints.

A table maps the name of one of our submodules to its public name; entries below it (weight, bias,
running_mean, ...) keep their names, except those of spectral norms. Every table is one to one, so it serves
loading and exporting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kpbe.params import ModelParams

# names of torch's parametrization, and of the hooks that the public code used
SPECTRAL_NORM_ENTRIES = {
    "parametrizations.weight.original": "weight_orig",
    "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}


def public_keys(ours: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Our state-dict names below the submodules of `table`, mapped to their public names."""
    names: dict[str, str] = {}
    for key in ours:
        parts = key.split(".")
        for length in range(len(parts) - 1, 0, -1):
            public_name = table.get(".".join(parts[:length]))
            if public_name is not None:
                entry = ".".join(parts[length:])
                names[key] = f"{public_name}.{SPECTRAL_NORM_ENTRIES.get(entry, entry)}"
                break
    return names


def frontend_tables(model: ModelParams) -> dict[str, dict[str, str]]:
    """Tables of the three networks that a public checkpoint holds for the frontend."""
    return {
        "kp_detector": _canonical_keypoints(model),
        "he_estimator": _pose_expression(model),
        "generator": _appearance(model) | _motion_field(model) | _generator(model),
    }


def discriminator_table(blocks: int) -> dict[str, str]:
    """Table of the public `discriminator` at full scale (`discs.1`), relative to `PatchDiscriminator`."""
    table = {"score": "discs.1.conv"}
    for i in range(blocks):
        table[f"blocks.{i}.conv"] = f"discs.1.down_blocks.{i}.conv"
        table[f"blocks.{i}.norm"] = f"discs.1.down_blocks.{i}.norm"
    return table


def _canonical_keypoints(model: ModelParams) -> dict[str, str]:
    table = {"lift": "predictor.conv", "heatmaps": "kp"}
    for i in range(model.canonical_keypoints.blocks):
        table[f"encoder.{i}"] = f"predictor.down_blocks.down{i}"
        table[f"decoder.{i}"] = f"predictor.up_blocks.up{i}"
    return {f"canonical_keypoints.{ours}": public for ours, public in table.items()}


def _pose_expression(model: ModelParams) -> dict[str, str]:
    table = {
        "conv": "conv1",
        "norm": "norm1",
        "yaw": "fc_yaw",
        "pitch": "fc_pitch",
        "roll": "fc_roll",
        "translation": "fc_t",
        "expression": "fc_exp",
    }
    if model.conventions.swap_yaw_and_roll_heads:
        # the public forward pass takes yaw from fc_roll and roll from fc_yaw
        table |= {"yaw": "fc_roll", "roll": "fc_yaw"}
    for stage, blocks in enumerate(model.pose_expression.stage_blocks):
        table[f"stages.{stage}.conv"] = f"conv{stage + 2}"
        table[f"stages.{stage}.norm"] = f"norm{stage + 2}"
        if stage > 0:
            table[f"stages.{stage}.reduce"] = f"block{2 * stage}"
        for i in range(blocks):
            table[f"stages.{stage}.blocks.{i}"] = f"block{2 * stage + 1}.b{2 * stage + 1}_{i}"
    return {f"pose_expression.{ours}": public for ours, public in table.items()}


def _appearance(model: ModelParams) -> dict[str, str]:
    table = {"appearance.first": "first", "appearance.lift": "second"}
    for i in range(model.appearance.down_blocks):
        table[f"appearance.down.{i}"] = f"down_blocks.{i}"
    for i in range(model.appearance.volume_blocks):
        table[f"appearance.volume.{i}"] = f"resblocks_3d.3dr{i}"
    return table


def _motion_field(model: ModelParams) -> dict[str, str]:
    table = {
        "compress.conv": "compress",
        "compress.norm": "norm",
        "hourglass.last": "hourglass.decoder",
        "mask": "mask",
        "occlusion": "occlusion",
    }
    for i in range(model.motion_field.blocks):
        table[f"hourglass.encoder.{i}"] = f"hourglass.encoder.down_blocks.{i}"
        table[f"hourglass.decoder.{i}"] = f"hourglass.decoder.up_blocks.{i}"
    return {f"motion_field.{ours}": f"dense_motion_network.{public}" for ours, public in table.items()}


def _generator(model: ModelParams) -> dict[str, str]:
    params, doublings = model.generator, model.appearance.down_blocks
    table = {"generator.flatten": "third", "generator.mix": "fourth"}
    if params.decoder == "original":
        table["generator.decoder.rgb"] = "final"
        for i in range(params.blocks):
            table[f"generator.decoder.residual.{i}"] = f"resblocks_2d.2dr{i}"
        for i in range(doublings):
            table[f"generator.decoder.up.{i}"] = f"up_blocks.{i}"
        return table
    table |= {"generator.decoder.first": "decoder.fc", "generator.decoder.rgb": "decoder.conv_img"}
    spade_blocks = {f"middle.{i}": f"G_middle_{i}" for i in range(params.blocks)}
    spade_blocks |= {f"up.{i}": f"up_{i}" for i in range(doublings)}
    for ours, public in spade_blocks.items():
        for part in ("0", "1", "s"):
            table[f"generator.decoder.{ours}.conv_{part}"] = f"decoder.{public}.conv_{part}"
            norm, public_norm = f"generator.decoder.{ours}.norm_{part}", f"decoder.{public}.norm_{part}"
            table[f"{norm}.shared"] = f"{public_norm}.mlp_shared.0"
            table[f"{norm}.gamma"] = f"{public_norm}.mlp_gamma"
            table[f"{norm}.beta"] = f"{public_norm}.mlp_beta"
    return table
