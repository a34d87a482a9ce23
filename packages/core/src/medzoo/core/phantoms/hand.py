"""Left hand and wrist, seen from the back: forearm ends, eight carpals, five rays, soft tissue; 37 landmarks."""

from __future__ import annotations

import numpy as np

from medzoo.core.phantoms.clutter import marker
from medzoo.core.phantoms.physics import Setup
from medzoo.core.phantoms.shapes import Array, Drawing, curve, ellipse, jitter, mix, moved, normals, taper

SETUP = Setup(field=(190.0, 253.0), window=(0.12, 0.995), rotation=0.16, scale=0.08, shift=0.07, warp=0.006)
FINGERS = ("thumb", "index", "middle", "ring", "little")
NAMES = (
    *("ulna border", "ulnar styloid", "radius ulnar corner", "radius surface", "radius border", "radial styloid"),
    *("scaphoid", "lunate", "triquetrum", "hamate", "capitate", "trapezoid", "trapezium"),
    *(f"{finger} metacarpal base" for finger in ("little", "ring", "middle", "index", "thumb")),
    *("thumb metacarpal head", "thumb proximal head", "thumb tip"),
    *(f"{f} {part}" for f in FINGERS[1:] for part in ("metacarpal head", "proximal head", "middle head", "tip")),
)

Template = tuple[tuple[float, float], ...]

# Half outlines of a bone of unit length and unit half width: share of the length, half width.
_METACARPAL: Template = (
    *((0.0, 0.0), (-0.01, 0.45), (0.03, 0.8), (0.12, 0.84), (0.3, 0.64), (0.52, 0.58), (0.74, 0.7)),
    *((0.87, 1.0), (0.96, 0.82), (1.0, 0.0)),
)
_PHALANX: Template = (
    *((0.0, 0.0), (-0.015, 0.5), (0.02, 1.0), (0.12, 1.0), (0.32, 0.72), (0.56, 0.62), (0.78, 0.66)),
    *((0.9, 0.78), (0.985, 0.6), (0.985, 0.2), (0.97, 0.0)),
)
_DISTAL: Template = (
    *((0.0, 0.0), (-0.03, 0.5), (0.03, 1.0), (0.16, 0.92), (0.38, 0.5), (0.62, 0.4), (0.8, 0.56), (0.92, 0.55)),
    (1.0, 0.0),
)

# Metacarpal base (mm), direction of the ray (degrees from straight up, thumb's side positive), lengths and half widths.
_BASES = ((121.0, 168.0), (108.5, 164.0), (97.5, 161.0), (87.0, 163.5), (77.5, 167.5))
_ANGLES = (40.0, 9.0, 1.0, -7.0, -17.0)
_LENGTHS = ((44, 31, 0, 22), (66, 39, 23, 17), (63, 43, 27, 18), (56, 40, 25, 18), (52, 32, 18, 16))
_WIDTHS = ((8.0, 7.4, 0, 6.6), (8.6, 7.8, 6.6, 5.4), (8.4, 7.8, 6.8, 5.6), (7.4, 7.2, 6.2, 5.3), (7.4, 6.4, 5.4, 4.8))

_GAPS = (3.0, 2.2, 1.8, 0.0)  # mm of cartilage beyond each bone

# Carpals: centre, radii (mm), angle (radians), the direction (degrees, thumb's side 0, down 90) of the marked pole.
_CARPALS = {
    "scaphoid": ((115.5, 187.0), (6.8, 11.5), 0.65, 25),
    "lunate": ((101.5, 191.5), (8.8, 7.8), 0.1, 90),
    "triquetrum": ((86.5, 187.5), (8.0, 7.2), -0.5, 160),
    "pisiform": ((83.0, 184.5), (4.6, 5.2), 0.0, 90),
    "hamate": ((85.5, 174.8), (8.0, 9.6), 0.35, 205),
    "capitate": ((98.2, 173.5), (7.0, 12.2), 0.05, 90),
    "trapezoid": ((109.8, 172.8), (6.4, 6.8), 0.1, 100),
    "trapezium": ((119.5, 176.8), (7.4, 7.0), 0.5, 0),
}


def _bone(template: Template, foot: Array, head: Array, width: Array) -> Array:
    """Outlines `(B, N, 2)` of bones from `foot` to `head` `(B, 2)`; vertex 0 is the middle of the base."""
    half = np.array(template)
    loop = np.concatenate((half, half[-2:0:-1] * (1, -1)))
    shape = curve(loop, per=3, closed=True)
    axis = head - foot
    across = np.stack((-axis[:, 1], axis[:, 0]), axis=-1) / np.hypot(axis[:, 0], axis[:, 1])[:, None]
    return np.asarray(
        foot[:, None] + shape[:, :1] * axis[:, None] + shape[:, 1:] * width[:, None, None] * across[:, None]
    )


def _paint_bone(drawing: Drawing, outlines: Array, width: Array, density: float) -> None:
    """Bright cortex, then a marrow that is dimmer at the rim than a solid body would be."""
    depths = np.stack((0 * width, 0.09 * width, 0.18 * width, 0.38 * width, 0.55 * width), axis=-1)
    drawing.fill(outlines, density * np.array([0.24, 0.26, 0.14, -0.14, -0.10]), depths)


def _growth_plates(drawing: Drawing, foot: Array, head: Array, place: Array, width: Array, depth: float) -> None:
    """Dark lines across bones that still grow, at a share `place` of their length."""
    axis = head - foot
    axis = axis / np.hypot(axis[:, 0], axis[:, 1])[:, None]
    across = axis[:, ::-1] * (-1, 1)
    centre = foot + place[:, None] * (head - foot)
    box = np.array([(-1, -0.5), (1, -0.7), (1, 0.7), (0, 0.3), (-1, 0.5)])
    outline = centre[:, None] + box[:, :1] * (width[:, None] * across)[:, None] + box[:, 1:] * axis[:, None]
    drawing.fill(outline, -1.4 * depth)


def _rays(rng: np.random.Generator) -> tuple[list[list[Array]], Array]:
    """Bones of the five rays, thumb first, each as `(2, 2)` foot and head, and their half widths `(5, 4)`."""
    spread = rng.uniform(0.7, 1.35)
    slant = rng.uniform(-4, 4)
    stout = rng.uniform(0.88, 1.12)
    rays: list[list[Array]] = []
    for base, angle, lengths in zip(jitter(rng, _BASES, 0.7), _ANGLES, _LENGTHS, strict=True):
        bearing = np.deg2rad(spread * angle + slant + rng.uniform(-2.5, 2.5))
        foot, bones = base, []
        for part, length in enumerate(lengths):
            if not length:
                continue
            bone = length * rng.uniform(0.94, 1.06) * np.array([np.sin(bearing), -np.cos(bearing)])
            bones.append(np.stack((foot, foot + bone)))
            foot = foot + bone * (1 + _GAPS[part] / length)
            straighten = -14 * spread if part == 0 and not rays else 0.0  # the thumb bends back towards the index
            bearing += np.deg2rad(straighten + rng.uniform(-4, 4))
        rays.append(bones)
    return rays, stout * np.array(_WIDTHS) * rng.uniform(0.95, 1.05, (5, 4))


def _finger(ray: list[Array], width: Array, fat: float) -> tuple[Array, Array, Array]:
    """Skin of one finger: its side towards the little finger (upwards), its tip, its other side (downwards)."""
    first = ray[1]
    chain = np.array([mix(first[0], first[1], 0.45 if len(ray) == 4 else 0.1), *(bone[1] for bone in ray[1:])])
    end = chain[-1] - chain[-2]
    axis = curve(np.vstack((chain, chain[-1] + 4.5 * end / np.hypot(end[0], end[1]))), per=4)
    half = width[1] * taper(len(axis), (0, 1.25), (0.5, 1.15), (1, 0.95)) + fat
    side = normals(axis) * half[:, None]
    turn = np.linspace(0, np.pi, 9)[1:-1, None]
    along = np.array([side[-1, 1], -side[-1, 0]])
    tip = axis[-1] - np.cos(turn) * side[-1] + 0.55 * np.sin(turn) * along
    return axis - side, tip, (axis + side)[::-1]


def _skin(rays: list[list[Array]], widths: Array, wrist: tuple[Array, Array], fat: float) -> Array:
    """One outline round forearm, little finger, ..., thumb and back."""
    ulnar, radial = wrist
    fingers = [_finger(ray, width, fat) for ray, width in zip(rays, widths, strict=True)]
    edge = rays[4][0]
    palm = np.array(
        [moved(ulnar, 0, 70), ulnar, moved(edge[0], -11 - fat, 4), moved(mix(edge[0], edge[1], 0.6), -11 - fat, 0)]
    )
    parts = [curve(np.vstack((palm, fingers[4][0][:1])), per=5)[:-1]]
    for finger in (4, 3, 2):
        web = 0.5 * (fingers[finger][2][-1] + fingers[finger - 1][0][0])
        knuckles = mix(rays[finger][1][0], rays[finger - 1][1][0], 0.5)
        parts += [*fingers[finger], mix(web, knuckles, 0.15)[None]]
    index, thumb = rays[1][0], rays[0][0]
    valley = np.array([moved(index[1], 12, 2), mix(mix(index[0], index[1], 0.55), thumb[1], 0.55)])
    parts += [*fingers[1], curve(np.vstack((fingers[1][2][-1:], valley, fingers[0][0][:1])), per=5)[1:-1]]
    heel = np.array([moved(mix(thumb[0], thumb[1], 0.5), 12, 5), moved(thumb[0], 13 + fat, 0), radial])
    parts += [*fingers[0], curve(np.vstack((fingers[0][2][-1:], heel)), per=5)[1:], moved(radial, 0, 70)[None]]
    return np.concatenate(parts)


# Outlines in mm from the middle of the wrist; the places of the marked vertices.
_RADIUS = np.array([
    (9, 75), (10, 40), (13, 20), (19.5, 9.5), (20.5, 1), (19, -6.5), (14, -4), (8, 0.5), (0, 2), (-5.5, 3), (-6.5, 6),
    (-5.5, 14), (-4, 30), (-4, 45), (-3.5, 75),
])  # fmt: skip
_ULNA = np.array([
    (-27, 75), (-26, 45), (-25, 25), (-26.5, 13), (-27, 6.5), (-25.5, 0.0), (-23.5, -3.5), (-21, 1.5), (-15, 3),
    (-11, 5), (-10.5, 10), (-13, 20), (-14.5, 35), (-15, 50), (-15.5, 75),
])  # fmt: skip
_RADIUS_MARKS, _ULNA_MARKS = (9, 7, 4, 5), (4, 6)


def _forearm(drawing: Drawing, rng: np.random.Generator, density: float) -> tuple[Array, Array, Array]:
    """Radius and ulna; returns their marked vertices `(6, 2)`, the ulna's first, and the skin's two wrist points."""
    wrist = np.array([99.0, 199.0]) + rng.uniform(-1, 1, 2)
    wide = rng.uniform(0.93, 1.07)
    variance = rng.uniform(-2.5, 2.5)  # how far the ulna ends above or below the radius
    marks = []
    for bone, at in ((moved(_ULNA, 0, variance), _ULNA_MARKS), (_RADIUS, _RADIUS_MARKS)):
        points = jitter(rng, bone, 0.35) * (wide, 1) + wrist
        outline = curve(points, per=4, closed=True)
        drawing.fill(outline, density * np.array([0.26, 0.26, 0.16, -0.18, -0.1]), (0, 0.8, 1.6, 3.2, 4.6))
        marks.append(points[list(at)])
    return np.concatenate(marks), moved(wrist, -39 * wide, 12), moved(wrist, 33 * wide, 12)


def _carpals(drawing: Drawing, rng: np.random.Generator, density: float) -> Array:
    """Eight carpals as rounded blocks; returns the seven marked poles."""
    outlines, poles = [], []
    phase = np.arange(32) * (2 * np.pi / 32)
    for name, (centre, radii, angle, pole) in _CARPALS.items():
        size = np.array(radii) * rng.uniform(0.92, 1.08, 2)
        at = np.array(centre) + rng.uniform(-0.8, 0.8, 2)
        square = (
            1 + 0.07 * np.cos(4 * (phase - rng.uniform(-0.3, 0.3))) * -1 + 0.04 * np.cos(3 * phase + rng.uniform(0, 6))
        )
        ring = ellipse((0, 0), size, 0.0, 32) * square[:, None]
        c, s = np.cos(angle), np.sin(angle)
        ring = ring @ np.array([[c, s], [-s, c]]) + at
        outlines.append(ring)
        if name != "pisiform":
            bearing = np.deg2rad(pole)
            poles.append(ring[np.argmax((ring - at) @ (np.cos(bearing), np.sin(bearing)))])
    drawing.fill(np.array(outlines), density * np.array([0.2, 0.2, 0.12, -0.1, -0.06]), (0, 0.7, 1.3, 2.6, 4.0))
    return np.array(poles)


def _bones(drawing: Drawing, rays: list[list[Array]], widths: Array, density: float, growing: float) -> None:
    """Metacarpals, phalanges, and the growth plates of a subject that still grows, as dark as `growing`."""
    for part, template in enumerate((_METACARPAL, _PHALANX, _PHALANX, _DISTAL)):
        chosen = [ray for ray in range(5) if _LENGTHS[ray][part]]
        ends = np.array([rays[ray][part if ray or part < 3 else 2] for ray in chosen])
        width = 0.94 * widths[chosen, part]
        _paint_bone(drawing, _bone(template, ends[:, 0], ends[:, 1], width), width, density)
        if growing and part < 3:
            # A metacarpal grows at its head (the thumb's at its base), a phalanx at its base.
            place = np.array([0.84 if part == 0 and ray else 0.1 for ray in chosen])
            _growth_plates(drawing, ends[:, 0], ends[:, 1], place, width, growing * density)


def draw(rng: np.random.Generator) -> Drawing:
    """Draw one hand in mm; its landmarks follow `NAMES`."""
    drawing = Drawing()
    density = rng.uniform(0.75, 1.15)
    flesh = rng.uniform(0.8, 1.2)
    rays, widths = _rays(rng)
    forearm, ulnar, radial = _forearm(drawing, rng, density)
    carpals = _carpals(drawing, rng, density)
    skin = _skin(rays, widths, (ulnar, radial), rng.uniform(0.5, 2.5))
    drawing.fill(skin, flesh * np.array([0.1, 0.1]), (0, 1.2))
    drawing.fill(skin, flesh * np.array([0.08, 0.06]), (2.8, 5.0), layer="soft")
    palm = mix(rays[2][0][0], rays[2][0][1], 0.45)
    drawing.fill(ellipse(palm, (36, 48), 0.1), flesh * np.array([0.05, 0.07, 0.07]), (0, 8, 16), layer="smooth")
    drawing.fill(ellipse((98, 235), (26, 60)), flesh * np.array([0.06, 0.08, 0.08]), (0, 6, 12), layer="smooth")
    _bones(drawing, rays, widths, density, max(0.0, 0.4 - rng.random()))
    if rng.random() < 0.5:
        marker(drawing, rng, "L", ((20, 225), (170, 225), (168, 30))[int(rng.integers(3))])
    drawing.mark(forearm)
    drawing.mark(carpals)
    for finger in (4, 3, 2, 1, 0):
        drawing.mark(rays[finger][0][0])
    for ray in rays:
        ends = np.array([bone[1] for bone in ray])
        ends[1:-1] = [mix(bone[0], bone[1], 0.97) for bone in ray[1:-1]]  # the notch between the condyles
        drawing.mark(ends)
    return drawing
