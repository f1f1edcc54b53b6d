"""Pieces of a sample person's mesh, which are grids of vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Materials, numbered as in the shader.
SKIN, HAIR, CLOTH, MOUTH, GLASS = range(5)
TEXTURE_CHANNELS = 5  # linear red, green, blue; gloss; ambient occlusion


@dataclass
class Piece:
    """A surface over a grid of rows and columns.

    Attributes:
        rest: (R, C, 3) vertices at rest, head units.
        texture: (h, w, 5) linear colour, gloss and ambient occlusion over the grid's span.
        material: one of the constants above.
        head_weight: (R, C) how far each vertex follows the head (1) rather than the body (0).
        face: (R, C, 2) flat face coordinates that the eyes are drawn in; zeros where there is no face.
        shapes: movement of the vertices per unit of each mouth or brow control, name -> (R, C, 3).
        keep: (R-1, C-1) cells that exist.
    """

    rest: np.ndarray
    texture: np.ndarray
    material: int
    head_weight: np.ndarray
    face: np.ndarray
    shapes: dict[str, np.ndarray]
    keep: np.ndarray


def piece(
    rest: np.ndarray,
    texture: np.ndarray,
    material: int,
    head_weight: np.ndarray | float = 1.0,
    face: np.ndarray | None = None,
    shapes: dict[str, np.ndarray] | None = None,
    keep: np.ndarray | None = None,
) -> Piece:
    """A `Piece` with defaults: rigid with the head, all cells, no face coordinates."""
    rows, columns = rest.shape[:2]
    return Piece(
        rest=rest,
        texture=texture.astype(np.float32),
        material=material,
        head_weight=np.broadcast_to(np.asarray(head_weight, dtype=np.float64), (rows, columns)),
        face=np.full((rows, columns, 2), 9.0) if face is None else face,
        shapes=shapes or {},
        keep=np.ones((rows - 1, columns - 1), dtype=bool) if keep is None else keep,
    )


@dataclass(frozen=True)
class Mesh:
    """All pieces of a person in one vertex list, ready for the rasteriser.

    Attributes:
        rest: (V, 3) float32.
        controls: names of the K controls; shapes: (K, V, 3) float32.
        head_weight: (V,) float32. face: (V, 2) float32. uv: (V, 2) float32 texel position in `atlas`.
        triangles: (T, 3) int32. material: (V,) int32.
        atlas: (H, W, 5) float32.
        grids: (first vertex, rows, columns) of every piece; normals are computed on these.
    """

    rest: np.ndarray
    controls: tuple[str, ...]
    shapes: np.ndarray
    head_weight: np.ndarray
    face: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    material: np.ndarray
    atlas: np.ndarray
    grids: tuple[tuple[int, int, int], ...]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals (V, 3) of moved vertices; they may point inwards or outwards."""
        normals = np.empty_like(vertices)
        for first, rows, columns in self.grids:
            grid = vertices[first : first + rows * columns].reshape(rows, columns, 3)
            down = _differences(grid, 0)
            across = _differences(grid, 1)
            normals[first : first + rows * columns] = np.cross(down, across).reshape(-1, 3)
        length = np.sqrt(np.einsum("vc,vc->v", normals, normals))
        return normals / np.maximum(length, 1e-9)[:, None]


def _differences(grid: np.ndarray, axis: int) -> np.ndarray:
    """Central differences along an axis without the division (only the direction matters)."""
    ahead = np.concatenate([np.take(grid, range(1, grid.shape[axis]), axis), np.take(grid, [-1], axis)], axis)
    behind = np.concatenate(
        [np.take(grid, [0], axis), np.take(grid, range(grid.shape[axis] - 1), axis)], axis
    )
    return ahead - behind


def assemble(pieces: list[Piece]) -> Mesh:
    """Put pieces into one mesh and their textures into one atlas."""
    controls = tuple(sorted({name for part in pieces for name in part.shapes}))
    width = max(part.texture.shape[1] for part in pieces)
    atlas = np.zeros((sum(part.texture.shape[0] for part in pieces), width, TEXTURE_CHANNELS), np.float32)
    shapes, uvs, triangles, grids = [], [], [], []
    vertex = texel_row = 0
    for part in pieces:
        rows, columns = part.rest.shape[:2]
        h, w = part.texture.shape[:2]
        atlas[texel_row : texel_row + h, :w] = part.texture
        v, u = np.meshgrid(np.linspace(0, h - 1, rows), np.linspace(0, w - 1, columns), indexing="ij")
        uvs.append(np.stack([u, v + texel_row], -1).reshape(-1, 2))
        zero = np.zeros_like(part.rest)
        shapes.append(np.stack([part.shapes.get(name, zero).reshape(-1, 3) for name in controls]))
        index = vertex + np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
        cells = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], -2)
        triangles.append(cells[part.keep].reshape(-1, 3))
        grids.append((vertex, rows, columns))
        vertex += rows * columns
        texel_row += h
    return Mesh(
        rest=_flat(pieces, "rest", 3),
        controls=controls,
        shapes=np.concatenate(shapes, 1).astype(np.float32),
        head_weight=_flat(pieces, "head_weight", 1)[:, 0],
        face=_flat(pieces, "face", 2),
        uv=np.concatenate(uvs).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.int32),
        material=np.concatenate(
            [np.full(part.rest.shape[0] * part.rest.shape[1], part.material, np.int32) for part in pieces]
        ),
        atlas=atlas,
        grids=tuple(grids),
    )


def _flat(pieces: list[Piece], name: str, channels: int) -> np.ndarray:
    return np.concatenate([np.reshape(getattr(part, name), (-1, channels)) for part in pieces]).astype(
        np.float32
    )


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high` (or the other way round when low > high), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float) -> np.ndarray:
    """A Gaussian hill of height 1 over the plane."""
    return np.exp(-0.5 * (((x - at[0]) / width) ** 2 + ((y - at[1]) / height) ** 2))


def linear(colour: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """sRGB in [0, 1] to linear light (the 2.2 power)."""
    return np.asarray(colour, dtype=np.float64) ** 2.2


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Noise of unit deviation with grain shape / cells, by smoothstep interpolation of a coarse grid."""
    coarse = rng.normal(size=(cells[0] + 3, cells[1] + 3))
    result = coarse
    for axis, (size, count) in enumerate(zip(shape, cells, strict=True)):
        place = np.linspace(0.5, count + 0.5, size)
        low = place.astype(int)
        t = smoothstep(0, 1, place - low)
        t = t[:, None] if axis == 0 else t[None]
        result = np.take(result, low, axis) * (1 - t) + np.take(result, low + 1, axis) * t
    return result / result.std()
