"""Z-buffer rasteriser and deferred shading, compiled with numba.

Camera space: x right, y down, z away from the camera; pixel = focal * (x, y) / z + centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kpbe.data.sample.pieces import CLOTH, GLASS, HAIR, MOUTH, SKIN

SAMPLES = 2  # supersampling per axis
SHADOW_SIZE = 224
SHADOW_SPAN = 2.6  # half width of the shadow map, head units

# Layout of the array of eye settings that the shader takes.
EYE_FIELDS = (
    "eye_x",
    "half_width",
    "upper",
    "lower",
    "tilt",
    "iris",
    "red",
    "green",
    "blue",
    "lash",
    "gaze_x",
    "gaze_y",
    "blink",
)


@njit(cache=True, fastmath=True)
def rasterise(points, triangles, nearness, index):
    """Write the nearest triangle of every pixel.

    Args:
        points: (V, 3) float32: x, y in pixels (pixel centres at whole numbers) and a nearness that is linear
            on screen.
        triangles: (T, 3) int32.
        nearness: (H, W) float32, filled with a value below all points'; index: (H, W) int32, filled with -1.
    """
    height, width = index.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            points[a, 0],
            points[a, 1],
            points[b, 0],
            points[b, 1],
            points[c, 0],
            points[c, 1],
        )
        left = max(int(np.ceil(min(ax, bx, cx))), 0)
        right = min(int(np.floor(max(ax, bx, cx))), width - 1)
        if left > right:
            continue
        top = max(int(np.ceil(min(ay, by, cy))), 0)
        bottom = min(int(np.floor(max(ay, by, cy))), height - 1)
        if top > bottom:
            continue
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-9:
            continue
        scale = 1.0 / area
        na, nb, nc = points[a, 2], points[b, 2], points[c, 2]
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                wb = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) * scale
                wc = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) * scale
                wa = 1.0 - wb - wc
                if wa < -1e-5 or wb < -1e-5 or wc < -1e-5:
                    continue
                near = wa * na + wb * nb + wc * nc
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    index[y, x] = t


@njit(cache=True, fastmath=True)
def shadow_points(vertices, light, centre, points):
    """Write vertices as seen from the light into `points`: x, y in the shadow map, nearness to the light."""
    ux, uy, uz, vx, vy, vz = _light_axes(light)
    scale = 0.5 * SHADOW_SIZE / SHADOW_SPAN
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - centre[0], vertices[i, 1] - centre[1], vertices[i, 2] - centre[2]
        points[i, 0] = (x * ux + y * uy + z * uz) * scale + 0.5 * SHADOW_SIZE
        points[i, 1] = (x * vx + y * vy + z * vz) * scale + 0.5 * SHADOW_SIZE
        points[i, 2] = x * light[0] + y * light[1] + z * light[2]


@njit(cache=True, fastmath=True)
def _light_axes(light):
    # u = light x y-axis, v = light x u
    length = np.sqrt(light[0] ** 2 + light[2] ** 2) + 1e-6
    ux, uy, uz = -light[2] / length, 0.0, light[0] / length
    vx = light[1] * uz - light[2] * uy
    vy = light[2] * ux - light[0] * uz
    vz = light[0] * uy - light[1] * ux
    return ux, uy, uz, vx, vy, vz


@njit(cache=True, fastmath=True)
def _lit(shadow, sx, sy, near):
    """Share of the light that reaches a point, over a 3x3 neighbourhood with soft edges."""
    total = 0.0
    bx, by = int(np.floor(sx)), int(np.floor(sy))
    fx, fy = sx - bx, sy - by
    for dy in range(-1, 3):
        wy = (1 - fy) if dy == -1 else (fy if dy == 2 else 1.0)
        for dx in range(-1, 3):
            wx = (1 - fx) if dx == -1 else (fx if dx == 2 else 1.0)
            px = min(max(bx + dx, 0), SHADOW_SIZE - 1)
            py = min(max(by + dy, 0), SHADOW_SIZE - 1)
            gap = shadow[py, px] - near
            total += wx * wy * (1.0 - min(max((gap - 0.03) / 0.04, 0.0), 1.0))
    return total / 9.0


@njit(cache=True, fastmath=True)
def _step(low, high, x):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@njit(cache=True, fastmath=True)
def _eye(x, y, eye, out):
    """Colour of the eye region at face coordinates x, y.

    out: red, green, blue, normal x and y in head space, kind (0 face, 1 eyeball, 2 lids), shade factor,
    catch-light; colours, normal and catch-light only for the eyeball.
    """
    side = 1.0 if x > 0 else -1.0
    u = (abs(x) - eye[0]) / eye[1]
    v = y + eye[4] * eye[1] * u
    out[5] = 0.0
    out[6] = 1.0
    if abs(u) > 1.6 or abs(v) > 0.19:
        return
    arch = max(1 - u * u, 0.0)
    skewed = max(1 - (u + 0.12) ** 2 / 1.25, 0.0)
    upper = -eye[2] * arch**0.66 * (0.75 + 0.25 * skewed)
    lower = eye[3] * arch**0.75
    closed = lower * 0.75
    upper = upper + (closed - upper) * eye[12]
    fade = _step(1.45, 0.95, abs(u))
    if abs(u) < 1.0 and upper < v < lower:
        gx = eye[0] * side + eye[10]
        gy = eye[11] - 0.010
        dx, dy = x - gx, v - gy
        r = np.sqrt(dx * dx + dy * dy) / eye[5]
        white = 0.72 - 0.16 * u * u
        red, green, blue = white, white * 0.955, white * 0.93
        iris = _step(1.07, 0.94, r)
        spokes = 0.9 + 0.22 * np.sin(11.0 * np.arctan2(dy, dx) + 3.0 * np.sin(7.0 * np.arctan2(dy, dx)))
        glow = (0.45 + 0.55 * _step(0.25, 0.85, r) * spokes) * _step(1.14, 0.76, r)
        glow *= 1.0 + 0.45 * _step(-0.2, 0.8, dy / eye[5])
        red += (eye[6] * glow - red) * iris
        green += (eye[7] * glow - green) * iris
        blue += (eye[8] * glow - blue) * iris
        pupil = _step(0.47, 0.36, r)
        red *= 1 - 0.97 * pupil
        green *= 1 - 0.97 * pupil
        blue *= 1 - 0.97 * pupil
        shade = 0.36 + 0.64 * _step(0.0, 0.050, v - upper)
        shade *= 0.75 + 0.25 * _step(0.0, 0.02, lower - v)
        shade *= 0.7 + 0.3 * _step(1.0, 0.8, abs(u))
        out[0], out[1], out[2] = red, green, blue
        out[3] = (abs(x) - eye[0]) * side / 0.17
        out[4] = v / 0.17
        out[5] = 1.0
        out[6] = shade
        # the catch-light does not move with the eye
        cx, cy = dx + 0.022, dy + 0.026
        out[7] = _step(0.020, 0.010, np.sqrt(cx * cx + cy * cy)) + 0.35 * _step(
            0.013, 0.005, np.sqrt((dx - 0.024) ** 2 + (dy - 0.024) ** 2)
        )
        return
    # lids: lash line, crease, lower rim
    out[5] = 2.0
    lash = eye[9] * fade * np.exp(-0.5 * ((v - upper + 0.008) / (0.010 + 0.006 * eye[9])) ** 2)
    if abs(u) >= 1.0:
        lash *= np.exp(-0.5 * ((v - upper + 0.02 * (u - 1) * 4) / 0.012) ** 2) if u > 0 else 0.3
    crease_at = -eye[2] * 1.0 * max(1 - u * u / 1.5, 0.0) ** 0.6 - 0.034
    crease = (1 - eye[12]) * fade * np.exp(-0.5 * ((v - crease_at) / 0.011) ** 2)
    rim = fade * np.exp(-0.5 * ((v - lower - 0.004) / 0.008) ** 2)
    out[6] = (1 - 0.85 * lash) * (1 - 0.38 * crease) * (1 - 0.25 * rim)


@njit(cache=True, fastmath=True)
def shade(
    image,
    background,
    index,
    points,
    vertices,
    normals,
    triangles,
    material,
    uv,
    face,
    atlas,
    shadow,
    shadow_at,
    rotation,
    eye,
    light,
    key,
    fill,
    ambient,
    curve,
):
    """Shade the rasterised samples and average them into pixels.

    Args:
        image: (H, W, 3) uint8, written. background: (H, W, 3) linear float32.
        index: (H * SAMPLES, W * SAMPLES) triangle of each sample or -1.
        points: (V, 3) sample x, y and 1 / z. vertices, normals: (V, 3) in camera space.
        shadow: (SHADOW_SIZE, SHADOW_SIZE) nearness to the light; shadow_at: (V, 3) vertices in it.
        rotation: (3, 3) of the head. eye: values of `EYE_FIELDS`.
        light: (3,) towards the light. key, fill, ambient: (3,) linear colours.
        curve: (4096,) uint8, linear light in [0, 1] to sRGB.
    """
    height, width = image.shape[0], image.shape[1]
    out = np.zeros(8)
    for py in range(height):
        for px in range(width):
            total_r = total_g = total_b = 0.0
            for s in range(SAMPLES * SAMPLES):
                sy, sx = py * SAMPLES + s // SAMPLES, px * SAMPLES + s % SAMPLES
                t = index[sy, sx]
                if t < 0:
                    total_r += background[py, px, 0]
                    total_g += background[py, px, 1]
                    total_b += background[py, px, 2]
                    continue
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                ax, ay = points[a, 0], points[a, 1]
                e1x, e1y, e2x, e2y = (
                    points[b, 0] - ax,
                    points[b, 1] - ay,
                    points[c, 0] - ax,
                    points[c, 1] - ay,
                )
                scale = 1.0 / (e1x * e2y - e2x * e1y)
                wb = ((sx - ax) * e2y - e2x * (sy - ay)) * scale * points[b, 2]
                wc = (e1x * (sy - ay) - (sx - ax) * e1y) * scale * points[c, 2]
                wa = points[a, 2] - ((sx - ax) * (e2y - e1y) - (sy - ay) * (e2x - e1x)) * scale * points[a, 2]
                norm = 1.0 / (wa + wb + wc)
                wa, wb, wc = wa * norm, wb * norm, wc * norm

                # texture, bilinear
                u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
                v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
                iu = min(max(int(u), 0), atlas.shape[1] - 2)
                iv = min(max(int(v), 0), atlas.shape[0] - 2)
                fu, fv = min(max(u - iu, 0.0), 1.0), min(max(v - iv, 0.0), 1.0)
                m00, m01, m10, m11 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
                red = m00 * atlas[iv, iu, 0] + m01 * atlas[iv, iu + 1, 0]
                red += m10 * atlas[iv + 1, iu, 0] + m11 * atlas[iv + 1, iu + 1, 0]
                green = m00 * atlas[iv, iu, 1] + m01 * atlas[iv, iu + 1, 1]
                green += m10 * atlas[iv + 1, iu, 1] + m11 * atlas[iv + 1, iu + 1, 1]
                blue = m00 * atlas[iv, iu, 2] + m01 * atlas[iv, iu + 1, 2]
                blue += m10 * atlas[iv + 1, iu, 2] + m11 * atlas[iv + 1, iu + 1, 2]
                gloss = m00 * atlas[iv, iu, 3] + m01 * atlas[iv, iu + 1, 3]
                gloss += m10 * atlas[iv + 1, iu, 3] + m11 * atlas[iv + 1, iu + 1, 3]
                occlusion = m00 * atlas[iv, iu, 4] + m01 * atlas[iv, iu + 1, 4]
                occlusion += m10 * atlas[iv + 1, iu, 4] + m11 * atlas[iv + 1, iu + 1, 4]

                nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
                ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
                nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
                vx = -(wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0])
                vy = -(wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1])
                vz = -(wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2])
                length = 1.0 / np.sqrt(vx * vx + vy * vy + vz * vz)
                vx, vy, vz = vx * length, vy * length, vz * length
                kind = material[a]
                catch = 0.0
                eyeball = False
                if kind == SKIN:
                    fx = wa * face[a, 0] + wb * face[b, 0] + wc * face[c, 0]
                    fy = wa * face[a, 1] + wb * face[b, 1] + wc * face[c, 1]
                    if fx < 1.0 and abs(fy) < 0.19:
                        _eye(fx, fy, eye, out)
                        if out[5] == 1.0:
                            eyeball = True
                            red, green, blue, gloss = out[0], out[1], out[2], 0.0
                            occlusion = out[6]
                            catch = out[7]
                            hz = -np.sqrt(max(1 - out[3] ** 2 - out[4] ** 2, 0.1))
                            nx = rotation[0, 0] * out[3] + rotation[0, 1] * out[4] + rotation[0, 2] * hz
                            ny = rotation[1, 0] * out[3] + rotation[1, 1] * out[4] + rotation[1, 2] * hz
                            nz = rotation[2, 0] * out[3] + rotation[2, 1] * out[4] + rotation[2, 2] * hz
                        elif out[5] == 2.0:
                            red *= out[6]
                            green *= out[6] ** 1.08
                            blue *= out[6] ** 1.08
                            gloss *= out[6]
                length = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
                facing = nx * vx + ny * vy + nz * vz
                if facing < 0:
                    length = -length
                nx, ny, nz = nx * length, ny * length, nz * length
                facing = abs(facing * length)

                lambert = nx * light[0] + ny * light[1] + nz * light[2]
                hx, hy, hz = light[0] + vx, light[1] + vy, light[2] + vz
                half = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz)
                hx, hy, hz = hx * half, hy * half, hz * half
                ndh = max(nx * hx + ny * hy + nz * hz, 0.0)
                lit = 1.0
                if lambert > -0.35:
                    lit = _lit(
                        shadow,
                        wa * shadow_at[a, 0] + wb * shadow_at[b, 0] + wc * shadow_at[c, 0],
                        wa * shadow_at[a, 1] + wb * shadow_at[b, 1] + wc * shadow_at[c, 1],
                        wa * shadow_at[a, 2] + wb * shadow_at[b, 2] + wc * shadow_at[c, 2],
                    )
                if eyeball:
                    lit = max(lit, 0.5)
                # light bleeds around edges in skin, red furthest
                wrap_r, wrap_g, wrap_b = 0.12, 0.12, 0.12
                if kind == SKIN:
                    wrap_r, wrap_g, wrap_b = 0.38, 0.22, 0.18
                diffuse_r = max((lambert + wrap_r) / (1 + wrap_r), 0.0) * lit
                diffuse_g = max((lambert + wrap_g) / (1 + wrap_g), 0.0) * lit
                diffuse_b = max((lambert + wrap_b) / (1 + wrap_b), 0.0) * lit
                opposite = 0.5 + 0.5 * (-nx * light[0] * 1.2 + 0.1 * ny - 0.75 * nz)
                opposite = max(opposite, 0.0) ** 1.5
                sky = 0.62 - 0.38 * ny
                grazing = (1 - facing) ** 4
                shine = 0.0
                rim = 0.0
                if kind == HAIR:
                    # strands run down: light along them shines by the sine to the half vector
                    tx = (
                        rotation[0, 1]
                        - (rotation[0, 1] * nx + rotation[1, 1] * ny + rotation[2, 1] * nz) * nx
                    )
                    ty = (
                        rotation[1, 1]
                        - (rotation[0, 1] * nx + rotation[1, 1] * ny + rotation[2, 1] * nz) * ny
                    )
                    tz = (
                        rotation[2, 1]
                        - (rotation[0, 1] * nx + rotation[1, 1] * ny + rotation[2, 1] * nz) * nz
                    )
                    long = 1.0 / np.sqrt(tx * tx + ty * ty + tz * tz + 1e-6)
                    along = (tx * hx + ty * hy + tz * hz) * long
                    across = np.sqrt(max(1 - along * along, 0.0))
                    shine = gloss * lit * (0.10 * across**60 + 0.05 * across**14) * _step(-0.2, 0.5, lambert)
                    rim = 0.04 * grazing
                elif kind == SKIN:
                    shine = gloss * lit * max(lambert, 0.0) * (0.20 * ndh**22 + 0.16 * ndh**70)
                    shine += gloss * 0.02 * facing**30
                    rim = 0.05 * grazing * gloss
                elif kind == MOUTH:
                    shine = gloss * lit * 0.35 * ndh**40
                elif kind == GLASS:
                    shine = 0.5 * ndh**60
                elif kind == CLOTH:
                    rim = 0.05 * grazing
                soft = 0.35 + 0.65 * occlusion
                total_r += (
                    red * (key[0] * diffuse_r * soft + occlusion * (fill[0] * opposite + ambient[0] * sky))
                    + key[0] * shine * occlusion
                    + ambient[0] * rim
                    + catch
                )
                total_g += (
                    green * (key[1] * diffuse_g * soft + occlusion * (fill[1] * opposite + ambient[1] * sky))
                    + key[1] * shine * occlusion
                    + ambient[1] * rim
                    + catch
                )
                total_b += (
                    blue * (key[2] * diffuse_b * soft + occlusion * (fill[2] * opposite + ambient[2] * sky))
                    + key[2] * shine * occlusion
                    + ambient[2] * rim
                    + catch
                )
            image[py, px, 0] = _tone(total_r / (SAMPLES * SAMPLES), curve)
            image[py, px, 1] = _tone(total_g / (SAMPLES * SAMPLES), curve)
            image[py, px, 2] = _tone(total_b / (SAMPLES * SAMPLES), curve)


@njit(cache=True, fastmath=True)
def _tone(x, curve):
    """Linear light to a byte; highlights above 0.7 roll off instead of clipping."""
    if x > 0.7:
        x = 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3))
    return curve[min(int(x * 4095), 4095)]
