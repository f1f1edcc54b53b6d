"""One sample person ready to be drawn: mesh, light and background; `Person.draw` renders a pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats.qmc import Halton

from kpbe.data.expression.labels import SCENE, SURFACE
from kpbe.data.sample import raster
from kpbe.data.sample.hair import build_hair
from kpbe.data.sample.head import EYE_Y, MOUTH_Y, HeadSurface, build_head
from kpbe.data.sample.identity import Identity, draw_identity, generator
from kpbe.data.sample.paint import paint_head
from kpbe.data.sample.parts import build_ears, build_glasses, build_mouth_inside, build_torso
from kpbe.data.sample.pieces import SKIN, Mesh, assemble, linear, piece, smooth_noise, smoothstep

DISTANCE = 9.0  # from the camera to the head, head units
FOCAL = 2.9  # focal length over frame width
HEAD_CENTRE_Y = 0.47  # where the head's origin lies in the frame at rest
BACK_OF_HEAD, BELOW_PICTURE = 0.45, 2.2
"""z and y at rest, head units; points behind or below them are not visible in a tight crop."""

BACKGROUND_POINTS = 32
HIDDEN_BEHIND = 0.0008
"""Difference of nearness (1 / head units) from which a point counts as hidden; it is some 0.07 head units
behind the visible surface.
"""

LEAST_FACING = 0.15
"""Cosine to the viewing direction below which a point of the face is hidden or nearly so."""

SKULL_BASE = np.array((0.0, 0.75, 0.22))
NECK_BASE = np.array((0.0, 1.70, 0.30))


def project(points: np.ndarray, size: int) -> np.ndarray:
    """Pixels (..., 2) of camera-space points (..., 3) in a square picture; pixel centres at whole numbers."""
    scale = FOCAL * size / points[..., 2:]
    centre = np.array((0.5 * size - 0.5, HEAD_CENTRE_Y * size - 0.5), points.dtype)
    return scale * points[..., :2] + centre


@dataclass(frozen=True)
class Pose:
    """Everything that moves in one frame.

    Attributes:
        rotation: (3, 3) head to camera. translation: (3,): camera = rotation @ head + translation.
        body_rotation, body_translation: the same for the torso.
        controls: mouth and brow control -> amount. gaze: (2,) iris shift right and down, head units.
        blink: 0 open, 1 closed.
    """

    rotation: np.ndarray
    translation: np.ndarray
    body_rotation: np.ndarray
    body_translation: np.ndarray
    controls: dict[str, float]
    gaze: tuple[float, float]
    blink: float


@dataclass(frozen=True)
class Person:
    """An identity's mesh and surroundings at a frame size; see `person`."""

    who: Identity
    size: int
    head: HeadSurface
    mesh: Mesh
    background: np.ndarray
    curve: np.ndarray

    def draw(self, pose: Pose) -> np.ndarray:
        """Draw a (size, size, 3) uint8 sRGB picture."""
        mesh, who = self.mesh, self.who
        vertices = self.vertices(pose)
        normals = mesh.normals(vertices).astype(np.float32)
        points, _, index = self._rasterised(vertices, raster.SAMPLES * self.size)
        light = np.array(who.light_direction, np.float32)
        centre = np.array((0.0, 0.35, DISTANCE), np.float32)
        shadow_at = np.empty_like(vertices)
        raster.shadow_points(vertices, light, centre, shadow_at)
        shadow = np.full((raster.SHADOW_SIZE, raster.SHADOW_SIZE), -1e3, np.float32)
        raster.rasterise(shadow_at, mesh.triangles, shadow, np.empty(shadow.shape, np.int32))
        key = 1.05 * np.array(who.light_colour)
        cool = np.array((2 - who.light_colour[0], 1.0, 2 - who.light_colour[2]))
        picture = np.empty((self.size, self.size, 3), np.uint8)
        raster.shade(
            picture,
            self.background,
            index,
            points,
            vertices,
            normals,
            mesh.triangles,
            mesh.material,
            mesh.uv,
            mesh.face,
            mesh.atlas,
            shadow,
            shadow_at,
            np.ascontiguousarray(pose.rotation, dtype=np.float64),
            self._eye(pose),
            light.astype(np.float64),
            key,
            0.55 * who.fill * cool,
            0.34 * (0.5 * cool + 0.5),
            self.curve,
        )
        return picture

    def _rasterised(self, vertices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rasterise the mesh at `size` pixels.

        Returns the vertices on screen (V, 3) with their nearness, and the largest nearness and the triangle
        of every pixel, both (size, size).
        """
        points = np.column_stack([project(vertices, size), 1 / vertices[:, 2]])
        nearness = np.zeros((size, size), np.float32)
        index = np.full((size, size), -1, np.int32)
        raster.rasterise(points, self.mesh.triangles, nearness, index)
        return points, nearness, index

    def vertices(self, pose: Pose) -> np.ndarray:
        """All vertices (V, 3) in camera space, float32; the neck bends between head and body."""
        mesh = self.mesh
        amounts = np.array([pose.controls.get(name, 0.0) for name in mesh.controls], np.float32)
        shaped = mesh.rest + np.tensordot(amounts, mesh.shapes, 1)
        in_head = shaped @ pose.rotation.T.astype(np.float32) + pose.translation.astype(np.float32)
        in_body = shaped @ pose.body_rotation.T.astype(np.float32) + pose.body_translation.astype(np.float32)
        weight = mesh.head_weight[:, None]
        return np.ascontiguousarray(in_body + weight * (in_head - in_body), dtype=np.float32)

    def mouth_gap(self, pose: Pose) -> float:
        """Height between the inner lips in the middle of the mouth, head units; 0 when they touch."""
        shapes = self.head.shapes
        gap = 0.0
        for (row, column), sign in (self._upper_lip, -1.0), (self._lower_lip, 1.0):
            gap += sign * self.head.rest[row, column, 1]
            gap += sign * sum(shapes[name][row, column, 1] * pose.controls.get(name, 0.0) for name in shapes)
        return max(float(gap), 0.0)

    def surface(self, pose: Pose) -> np.ndarray:
        """Points spread over the face, (SURFACE, 2) float32 pixels; NaN where they face away."""
        vertices = self.vertices(pose)
        normals = self.mesh.normals(vertices)
        chosen = self._surface
        points = project(vertices[chosen], self.size)
        # the mesh's normals all point outwards or all inwards; at rest the face looks at the camera
        towards = normals[chosen, 2] * np.sign(self.mesh.normals(self.mesh.rest)[chosen, 2])
        points[towards < LEAST_FACING] = np.nan
        return points.astype(np.float32)

    def scene(self, pose: Pose) -> np.ndarray:
        """Points of hair, ears, neck and clothes, then of the background, (SCENE, 2) float32 pixels.

        Hidden ones are NaN.
        """
        points, nearness, _ = self._rasterised(self.vertices(pose), self.size)
        moving = points[self._around_face]
        pixels = np.concatenate([moving[:, :2], self.background_points])
        near = np.concatenate([moving[:, 2], np.zeros(BACKGROUND_POINTS, np.float32)])
        column, row = np.clip(pixels.round().astype(int), 0, self.size - 1).T
        inside = ((pixels > -0.5) & (pixels < self.size - 0.5)).all(1)
        pixels[~inside | (near < nearness[row, column] - HIDDEN_BEHIND)] = np.nan
        return pixels.astype(np.float32)

    @cached_property
    def _around_face(self) -> np.ndarray:
        """Indices of vertices off the face and not at the back of the head, far from each other."""
        rest = self.mesh.rest.astype(np.float64)
        usable = (rest[:, 2] < BACK_OF_HEAD) & (rest[:, 1] < BELOW_PICTURE)
        usable[: self._face.size] &= ~self._face.ravel()
        candidates = np.flatnonzero(usable)
        return candidates[_spread(rest[candidates], SCENE - BACKGROUND_POINTS)]

    @cached_property
    def background_points(self) -> np.ndarray:
        """Points (BACKGROUND_POINTS, 2), float pixels, spread over the picture."""
        places = Halton(2, scramble=False).random(1 + BACKGROUND_POINTS)[1:]  # the first is a corner
        return (places * self.size - 0.5).astype(np.float32)

    @cached_property
    def _surface(self) -> np.ndarray:
        """Indices of SURFACE vertices of the face that look at the camera at rest, far from each other.

        Most are near the mouth.
        """
        rows, columns = self.head.rest.shape[:2]
        rest = self.mesh.rest[: rows * columns].astype(np.float64)
        facing = np.abs(self.mesh.normals(self.mesh.rest)[: rows * columns, 2]) > 0.35
        bag = np.zeros((rows, columns), bool)
        bag[self.head.bag[0] : self.head.bag[1]] = True
        usable = np.flatnonzero(self._face.ravel() & facing & ~bag.ravel())
        near_mouth = np.exp(-0.5 * (np.hypot(rest[usable, 0], rest[usable, 1] - MOUTH_Y) / 0.3) ** 2)
        return usable[_spread(rest[usable], SURFACE, 1 + 2 * near_mouth, int(near_mouth.argmax()))]

    def landmarks(self, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Face box (4,), lip points (4, 2) and eyes (2, 2), float32 pixels, see `Truth`."""
        vertices = self.vertices(pose)[: self.head.rest.shape[0] * self.head.rest.shape[1]]
        points = project(vertices, self.size).reshape(*self.head.rest.shape[:2], 2)
        box = np.concatenate([points[self._face].min(0), points[self._face].max(0)])
        corner = self._corner_column
        slit = self.head.bag[0] - 1
        middle = self.head.rest.shape[1] // 2
        ends = points[slit, middle - corner], points[slit, middle + corner]
        lips = np.stack([ends[0], points[self._upper_lip], ends[1], points[self._lower_lip]])
        eyes = np.stack([points[eye] for eye in self._eyes])
        return box.astype(np.float32), lips.astype(np.float32), eyes.astype(np.float32)

    @property
    def _eyes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the eyes' centres, from left to right in the picture."""
        front = np.cos(self.head.angle) > 0
        centres = ((-self.head.places.eye_x, EYE_Y), (self.head.places.eye_x, EYE_Y))
        away = (np.hypot(*np.moveaxis(self.head.flat - centre, -1, 0)) for centre in centres)
        nearest = (divmod(int(np.where(front, d, np.inf).argmin()), d.shape[1]) for d in away)
        return tuple(nearest)

    @property
    def _upper_lip(self) -> tuple[int, int]:
        return self.head.bag[0] - 1, self.head.rest.shape[1] // 2

    @property
    def _lower_lip(self) -> tuple[int, int]:
        return self.head.bag[1], self.head.rest.shape[1] // 2

    @property
    def _corner_column(self) -> int:
        """Columns between the middle and a corner of the mouth."""
        slit = self.head.flat[self.head.bag[0], self.head.rest.shape[1] // 2 :, 0]
        return int(np.argmin(np.abs(slit - self.head.places.mouth_half_width)))

    @property
    def _face(self) -> np.ndarray:
        """Mask of the part that a face detector frames: forehead to chin, ear to ear."""
        y = self.head.flat[..., 1]
        return (np.cos(self.head.angle) > 0)[None] & (y > -0.52) & (self.head.ring <= 12.5)[:, None]

    def _eye(self, pose: Pose) -> np.ndarray:
        who, at = self.who, self.head.places
        iris = linear(who.eye_colour)
        values = {
            "eye_x": at.eye_x,
            "half_width": 0.152 * who.eye_size,
            "upper": 0.062 * who.eye_size,
            "lower": 0.039 * who.eye_size,
            "tilt": who.eye_tilt,
            "iris": 0.068,
            "red": iris[0],
            "green": iris[1],
            "blue": iris[2],
            "lash": 0.45 + 0.55 * who.femininity,
            "gaze_x": pose.gaze[0],
            "gaze_y": pose.gaze[1],
            "blink": pose.blink,
        }
        return np.array([values[name] for name in raster.EYE_FIELDS])


def _spread(points: np.ndarray, count: int, density: np.ndarray | float = 1.0, first: int = 0) -> np.ndarray:
    """Indices of `count` points (P, 3) far from each other, more of them where the density is high.

    Each point is the farthest from those before it.
    """
    chosen = [first]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1) * density)
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


@lru_cache(maxsize=2)
def person(index: int, seed: int, size: int) -> Person:
    """The index-th person of a seed, for square frames of `size` pixels."""
    who = draw_identity(index, seed)
    head = build_head(who)
    face = np.where((head.front > 0.3)[..., None], head.flat, 9.0)
    weight = 1 - smoothstep(1.0, 1.65, head.flat[..., 1])
    skin = piece(head.rest, paint_head(who, head), SKIN, weight, face, head.shapes)
    pieces = [
        skin,
        *build_ears(who, head),
        *build_mouth_inside(who, head),
        *build_hair(who, head),
        *build_glasses(who, head),
        *build_torso(who),
    ]
    curve = np.round(255 * np.linspace(0, 1, 4096) ** (1 / 2.2)).astype(np.uint8)
    return Person(who, size, head, assemble(pieces), _background(who, size), curve)


def _background(who: Identity, size: int) -> np.ndarray:
    """Linear (size, size, 3) float32 wall, window, shelf or lights, out of focus."""
    rng = generator(who.seed, who.name, "background")
    v, u = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    first, second = (linear(c) for c in who.background_colours)
    side = np.sign(who.light_direction[0])
    glow = np.exp(-1.6 * ((u - 0.5 - 0.35 * side) ** 2 + (v - 0.25) ** 2) * 2.2)
    picture = second + (first - second) * glow[..., None]
    if who.background == "lights":
        picture *= 0.55
        for _ in range(26):
            cx, cy, radius = rng.uniform(-0.05, 1.05), rng.uniform(-0.05, 0.85), rng.uniform(0.02, 0.07)
            disc = smoothstep(radius, 0.86 * radius, np.hypot(u - cx, v - cy))
            warm = np.array((1.0, rng.uniform(0.55, 0.95), rng.uniform(0.3, 0.9)))
            picture += (disc * rng.uniform(0.08, 0.4))[..., None] * warm
        blur = 0.006
    elif who.background == "wall":
        plaster = smooth_noise(rng, u.shape, (60, 60)) + 0.7 * smooth_noise(rng, u.shape, (14, 14))
        picture *= (1 + 0.05 * plaster)[..., None]
        panel = smoothstep(0.004, 0.0, np.abs(v - 0.66)) + smoothstep(0.66, 0.67, v) * 0.25
        picture *= (1 - 0.35 * panel)[..., None]
        blur = 0.004
    elif who.background == "window":
        left = 0.08 if side < 0 else 0.56
        pane = (u > left) & (u < left + 0.36) & (v > 0.06) & (v < 0.62)
        cross = (np.abs(u - left - 0.18) < 0.012) | (np.abs(v - 0.34) < 0.012)
        sky = np.array((0.75, 0.86, 1.0)) * (0.95 - 0.5 * v)[..., None]
        picture = np.where((pane & ~cross)[..., None], sky, picture * 0.8)
        blur = 0.014
    elif who.background == "shelf":
        picture = picture * 0.5
        for shelf in range(4):
            top, bottom, x = shelf * 0.25 - 0.02, shelf * 0.25 + 0.20, 0.0
            while x < 1:
                width, height = rng.uniform(0.02, 0.055), rng.uniform(0.55, 0.95) * (bottom - top)
                book = (u >= x) & (u < x + width) & (v < bottom) & (v > bottom - height)
                tint = 0.5 * first + 0.6 * rng.uniform(0.02, 0.5, 3) * rng.uniform(0.3, 1)
                picture = np.where(book[..., None] & (rng.uniform() > 0.12), tint, picture)
                x += width + 0.003
            picture = np.where(
                ((v >= bottom) & (v < bottom + 0.022))[..., None], 0.7 * second + 0.05, picture
            )
        blur = 0.012
    else:
        blur = 0.02
    picture = gaussian_filter(picture, (blur * size, blur * size, 0))
    vignette = 1 - 0.35 * np.hypot(u - 0.5, v - 0.45) ** 2 * 2
    return (picture * vignette[..., None]).astype(np.float32)
