"""How the reference code renders a frame, for comparison.

The reference is zhanglonghao1992's OSFV demo, of which facts only were used. The code is plain on purpose: it
renders one frame at a time with the whole generator, so the source is encoded again for every frame; it
samples all motions point by point from copies of the volume; and it computes batch norms beside the
convolutions. Networks and weights are KPBE's own, with torch's own convolutions and default layout of
weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from types import MethodType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference_training import plain_convolutions, plain_layout
from kpbe.frontend.geometry import HEATMAP_VARIANCE, coordinate_grid
from kpbe.frontend.model import Frontend
from kpbe.frontend.motion_field import FewMaps


class PlainRenderer:
    """The reference's loop over driving frames.

    Args:
        frontend: the network, which is copied; it needs the original decoder, detail `none` and first-order
            motion by translation, and must not be prepared for rendering.

    Raises:
        ValueError: the frontend has detail or moves by rotation.
    """

    def __init__(self, frontend: Frontend):
        model = frontend.params
        if model.generator.detail != "none" or model.conventions.first_order != "translation":
            raise ValueError("the reference knows neither detail nor motion by rotation")
        self.frontend = plain_layout(plain_convolutions(copy.deepcopy(frontend))).eval()
        for module in self.frontend.modules():
            if isinstance(module, FewMaps):
                module.forward = MethodType(nn.Conv2d.forward, module)

    @torch.no_grad()
    def __call__(self, source: Tensor, driving: Sequence[Tensor]) -> Iterator[np.ndarray]:
        """Render the source (1, 3, H, W) with the pose and expression of each driving image (1, 3, H, W).

        It yields frames (H, W, 3) in [0, 1].
        """
        network = self.frontend
        canonical = network.canonical_keypoints(source)
        own_keypoints = self._keypoints(canonical, source)
        for frame in driving:
            keypoints = self._keypoints(canonical, frame)
            yield self._generate(source, own_keypoints, keypoints)[0].permute(1, 2, 0).numpy()

    def _keypoints(self, canonical: Tensor, image: Tensor) -> Tensor:
        heads = self.frontend.pose_expression(image)
        pose = heads.pose(self.frontend.params.conventions)
        turned = torch.einsum("bij,bkj->bki", pose.rotation, canonical)
        return turned + pose.translation[:, None] + heads.expression

    def _generate(self, source: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor) -> Tensor:
        network, align = self.frontend, self.frontend.params.conventions.align_corners
        volume = network.appearance(source)
        deformation, occlusion = self._dense_motion(volume, source_keypoints, driving_keypoints)
        warped = F.grid_sample(volume, deformation, align_corners=align).flatten(1, 2)
        generator = network.generator
        return generator.decoder(generator.mix(generator.flatten(warped)) * occlusion).sigmoid()

    def _dense_motion(
        self, volume: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor
    ) -> tuple[Tensor, Tensor]:
        field, size = self.frontend.motion_field, (volume.shape[2], volume.shape[3], volume.shape[4])
        identity = coordinate_grid(size)[None, None]
        keypoints = [k.view(1, -1, 1, 1, 1, 3) for k in (source_keypoints, driving_keypoints)]
        motions = torch.cat([identity, identity - keypoints[1] + keypoints[0]], 1)
        count = motions.shape[1]
        compressed = field.compress(volume)
        copies = compressed[:, None].repeat(1, count, 1, 1, 1, 1).flatten(0, 1)
        moved = F.grid_sample(copies, motions.flatten(0, 1), align_corners=field.align_corners)
        moved = moved.unflatten(0, (1, count))
        heat = [(-0.5 * (identity - k).square().sum(-1) / HEATMAP_VARIANCE).exp() for k in keypoints]
        difference = torch.cat([torch.zeros_like(heat[0][:, :1]), heat[1] - heat[0]], 1)[:, :, None]
        features = field.hourglass(torch.cat([difference, moved], 2).flatten(1, 2))
        mask = field.mask(features).softmax(1)
        deformation = (motions * mask[..., None]).sum(1)
        return deformation, field.occlusion(features.flatten(1, 2)).sigmoid()
