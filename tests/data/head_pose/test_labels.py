"""The angles of head pose labels."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kpbe.data.head_pose.labels import euler_degrees
from kpbe.frontend.geometry import rotation_matrix
from kpbe.params import ConventionParams

EXACT_PI = ConventionParams(pi=3.14159265)


@given(st.tuples(*[st.floats(-80, 80)] * 3))
def test_angles_give_back_the_rotation_in_the_frontends_convention(angles):
    rotation = rotation_matrix(torch.tensor([angles], dtype=torch.float64), EXACT_PI).numpy()
    assert np.allclose(euler_degrees(rotation), [angles], atol=1e-3)
