"""One forward pass of the frontend in training, over plain tensors, to be wrapped and compiled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kpbe.data.expression.labels import SHAPES
from kpbe.frontend.detail import BACKEND
from kpbe.frontend.model import Frontend
from kpbe.frontend.motion_field import Motion
from kpbe.params import Goal


class Reconstruction(nn.Module):
    """The frontend, and a reader of blendshapes from the expression that only training needs.

    Like LivePortrait's guidance, the reader keeps the expression from collapsing.
    """

    def __init__(self, frontend: Frontend):
        super().__init__()
        self.frontend = frontend
        self.shapes = nn.Linear(3 * frontend.params.num_keypoints, len(SHAPES))

    def forward(
        self,
        source: Tensor,
        pose: Tensor,
        expression: Tensor | None,
        warped: Tensor | None,
        second_counts: Tensor | None = None,
        goal: Goal = "frames",
    ) -> dict[str, Tensor]:
        """Render source images with the head pose of one image and the expression of another.

        All images are (B, 3, H, W) in [0, 1].

        Args:
            source: gives appearance and canonical keypoints.
            pose: the frames that give the head pose.
            expression: the backend's frames; None takes the expression from `pose`, without a second source.
            warped: `pose` after a `RandomWarp`, for the equivariance term.
            second_counts: (B,) bool, the samples in which the backend's frame is a second source; None: all.
            goal: `labels` leaves out pictures and displacements, `motion` leaves out pictures.

        Returns:
            generated (B, 3, H, W), driving_keypoints, source_keypoints, source_expression, expression (B, K,
            3), degrees and source_degrees (B, 3), shapes (B, S); with `expression`: expression_keypoints (B,
            K, 3); with `warped`: unwarped_keypoints and warped_keypoints (B, K, 3), of the pose frame itself
            and of the warped one; with detail: decoded (B, 3, S, S), moved_source (B, 3, H, W), shares (B, 2
            or 3, H, W), see `Composite`, source_displacement (B, 2, h, w); where the backend's frame is a
            second source also moved_backend, backend_displacement, and backend_share (B, 1, H, W), its share
            of each pixel, NaN in samples that do not use it.
        """
        network = self.frontend
        moves = goal != "labels"
        decomposed = network.decompose(source) if moves else network.keypoints_of(source)
        head_pose, own_expression = network.estimate_pose_expression(pose)
        second = None if expression is None else network.second_source(decomposed, expression, moves)
        driving_expression = own_expression if second is None else second.expression
        driving_keypoints = decomposed.driven_by(head_pose, driving_expression)
        result = {
            "driving_keypoints": driving_keypoints,
            "source_keypoints": decomposed.keypoints,
            "source_expression": decomposed.expression,
            "expression": driving_expression,
            "degrees": head_pose.degrees,
            "source_degrees": decomposed.pose.degrees,
            "shapes": self.shapes(driving_expression.flatten(1)),
        }
        if second is not None:
            result["expression_keypoints"] = second.keypoints
        if warped is not None:
            result["unwarped_keypoints"] = decomposed.driven_by(head_pose, own_expression)
            result["warped_keypoints"] = decomposed.driven_by(*network.estimate_pose_expression(warped))
        if not moves:
            return result
        if goal == "motion":
            motions = network.motions(decomposed, driving_keypoints, head_pose, second)
            return result | _displacements(*motions)
        rendering = network.render(decomposed, driving_keypoints, head_pose, second, second_counts)
        result |= {"generated": rendering.frame, "decoded": rendering.decoded}
        result |= _displacements(rendering.motion, rendering.backend_motion)
        if rendering.moved_source is not None:
            assert rendering.shares is not None
            result |= {"moved_source": rendering.moved_source, "shares": rendering.shares}
        if rendering.moved_backend is not None:
            assert rendering.shares is not None
            result["moved_backend"] = rendering.moved_backend
            share = rendering.shares[:, BACKEND, None]
            if second_counts is not None:
                share = share.masked_fill(~second_counts.view(-1, 1, 1, 1), torch.nan)
            result["backend_share"] = share
        return result


def _displacements(of_source: Motion, of_backend: Motion | None) -> dict[str, Tensor]:
    motions = {"source_displacement": of_source, "backend_displacement": of_backend}
    return {
        name: motion.displacement
        for name, motion in motions.items()
        if motion is not None and motion.displacement is not None
    }


def second_source_counts(samples: int, share: float, generator: torch.Generator) -> Tensor:
    """(B,) bool: the samples of a batch in which the backend's frame is a second source.

    They are random, so that one network learns to render with and without it.
    """
    return torch.rand(samples, generator=generator) < share
