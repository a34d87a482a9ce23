"""Frontal chest: lungs, heart and great vessels, diaphragm, rib cage, clavicles, spine, soft tissue; 6 landmarks."""

from __future__ import annotations

import numpy as np

from medzoo.core.phantoms.clutter import leads, marker
from medzoo.core.phantoms.physics import Setup
from medzoo.core.phantoms.shapes import Array, Drawing, curve, ellipse, jitter, mix, moved, taper, tube

SETUP = Setup(
    field=(365.0, 365.0), window=(0.1, 0.975), rotation=0.12, scale=0.08, shift=0.055, warp=0.006, haze=(0.1, 0.35)
)
NAMES = (
    *("right apex", "right costophrenic angle", "right cardiophrenic angle"),
    *("left apex", "left costophrenic angle", "left cardiophrenic angle"),
)
SIDES = (("right", -1.0), ("left", 1.0))  # the patient's right lies at the image's left

# Outlines of the lungs in mm from the midline (towards the image's border) and from the top of the field: the dome of
# the diaphragm from costophrenic to cardiophrenic angle, the inner border up to the apex, and from there down the wall.
_TOP = 54.0
_WALL = ((44, 54), (63, 62), (86, 90), (104, 128), (117, 175), (125, 225), (131, 270), (133, 303))
_DOME = {
    "right": ((133, 303), (120, 282), (96, 263), (72, 254), (52, 254), (38, 262)),
    "left": ((133, 303), (122, 288), (108, 276), (96, 271), (85, 272)),
}
_INNER = {
    "right": ((38, 262), (43, 240), (42, 215), (33, 190), (27, 165), (23, 140), (21, 110), (21, 84), (28, 62)),
    "left": (
        *((85, 272), (82, 248), (66, 222), (44, 200), (34, 182), (33, 165), (27, 148), (34, 134), (36, 118), (27, 106)),
        *((20, 90), (21, 74), (28, 61)),
    ),
}
_PER = 5
_WALL_POINTS = _PER * (len(_WALL) - 1)


def _lungs(rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """Outlines of both lungs, the wall their last part, and the six landmarks."""
    tall, wide = rng.uniform(0.88, 1.1), rng.uniform(0.93, 1.07)
    heart = rng.uniform(0.85, 1.15)
    outlines, marks = {}, []
    for side, sign in SIDES:
        stretch = np.array([wide * rng.uniform(0.96, 1.04), tall * rng.uniform(0.97, 1.03)])
        wall, dome, inner = (np.array(part, dtype=np.float64) for part in (_WALL, _DOME[side], _INNER[side]))
        below = inner[:, 1] > 150  # where the inner border is the heart's
        inner[below, 0] = 20 + (inner[below, 0] - 20) * heart
        dome[-1] = inner[0]
        dome[1:-1, 1] += rng.uniform(-10, 8) * np.where(np.arange(len(dome) - 2), 1.0, 0.5)
        dome[0, 1] = wall[-1, 1] = wall[-1, 1] + rng.uniform(-8, 8)
        wall[1:-1], dome[1:-1], inner[1:] = (jitter(rng, part, 1.5) for part in (wall[1:-1], dome[1:-1], inner[1:]))
        wall, dome, inner = (
            (part * stretch + (0, _TOP * (1 - stretch[1]))) * (sign, 1) for part in (wall, dome, inner)
        )
        # Inner border and wall are one smooth line over the apex; the two angles are the outline's only corners.
        outlines[side] = np.concatenate((curve(dome, per=_PER)[:-1], curve(np.vstack((inner, wall)), per=_PER)[:-1]))
        marks += [wall[0], dome[0], dome[-1]]
    return outlines, np.array(marks)


def _ribs(drawing: Drawing, rng: np.random.Generator, lungs: dict[str, Array], density: float) -> None:
    """Eleven pairs of ribs: from the spine up and out to the wall, round it, then down towards the breastbone."""
    slope, start = rng.uniform(0.75, 1.3), rng.uniform(-5, 5)
    number = np.arange(11)
    backs, fronts = [], []
    for side, sign in SIDES:
        wall = lungs[side][-_WALL_POINTS:] * (sign, 1)
        bottom = wall[-1, 1]
        y = _TOP + 4 + start + (bottom - _TOP) / 10.5 * number * (0.82 + 0.018 * number)
        turn = np.minimum(y + slope * (14 + 3.4 * number), bottom + 30)
        reach = np.interp(turn, wall[:, 1], wall[:, 0]) + 3 + np.maximum(0, turn - bottom) * 0.08
        x_back = np.stack((14 + 0 * y, 30 + 0 * y, 0.55 * reach, 0.86 * reach, reach), axis=-1)
        y_back = np.stack((y + 3, y - 3, y - 1, 0.55 * y + 0.45 * turn, turn), axis=-1)
        backs.append(np.stack((x_back, y_back), axis=-1) * (sign, 1))
        keep = slice(1, 9)
        y, turn, reach, rib = y[keep], turn[keep], reach[keep], number[keep]
        end = np.minimum(36 + 6 * rib, reach - 22)
        fall = slope * (30 + 2 * rib)
        x_front = np.stack((reach, 0.9 * reach + 0.1 * end, 0.5 * reach + 0.5 * end, end), axis=-1)
        y_front = np.stack((turn, turn + 0.22 * fall, turn + 0.66 * fall, turn + fall), axis=-1)
        fronts.append(np.stack((x_front, y_front), axis=-1) * (sign, 1))
    for lines, steps, depths, knots in (
        (backs, (0.22, -0.11), (0.25, 2.1), ((0, 2.0), (0.12, 4.4), (0.8, 4.6), (1, 2.4))),
        (fronts, (0.17, -0.1), (0.3, 2.0), ((0, 2.8), (0.5, 5.2), (0.88, 6.0), (1, 3.0))),
    ):
        axes = curve(jitter(rng, np.concatenate(lines), 0.7), per=3)
        half = taper(axes.shape[1], *knots) * rng.uniform(0.9, 1.12, (len(axes), 1))
        drawing.fill(tube(axes, half), density * np.array(steps), depths)


def _vessels(drawing: Drawing, rng: np.random.Generator, lungs: dict[str, Array]) -> None:
    """Hila and the vessels that leave them, fork and thin out before they reach the wall."""
    strength = rng.uniform(0.6, 1.3)
    t = np.linspace(0, 1, 6)[:, None]
    for side, sign in SIDES:
        hilum = np.array([sign * 38.0, 165.0 if side == "right" else 157.0]) + rng.uniform(-4, 4, 2)
        drawing.fill(ellipse(hilum, (11, 21), sign * -0.3), strength * np.array([0.09, 0.12]), (0, 4), layer="soft")
        bearing = np.linspace(-1.3, 1.4, 9) + rng.uniform(-0.15, 0.15, 9)
        ray = np.stack((sign * np.cos(bearing), np.sin(bearing)), axis=-1)
        across = ray[:, ::-1] * (-1, 1)
        wall = lungs[side][-_WALL_POINTS:] - hilum
        facing = np.argmax(ray @ (wall / np.hypot(wall[:, 0], wall[:, 1])[:, None]).T, axis=1)
        length = np.hypot(*wall[facing].T)[:, None] * rng.uniform(0.6, 0.85, (9, 1))
        lean = rng.uniform(-0.18, 0.18, (9, 1))
        root = hilum + np.stack((np.full(9, sign * 4.0), 14 * np.sin(bearing)), axis=-1)
        for reach, side_lean, width in ((1.0, 0.0, 2.1), (0.55, 0.45, 1.4), (0.45, -0.5, 1.2)):
            along = rng.uniform(0.15, 0.45, (9, 1)) * (side_lean != 0)
            fork = root + along * length * (ray + lean * across)
            turn = (lean + side_lean * rng.uniform(0.6, 1.4, (9, 1)))[:, None]
            bend = turn * t + 0.2 * lean[:, None] * t**2
            axes = fork[:, None] + (reach * length)[:, None] * (t * ray[:, None] + bend * across[:, None])
            drawing.fill(tube(axes, taper(6, (0, width), (1, 0.4))), strength * (0.17 if width > 2 else 0.14))


def _spine(drawing: Drawing, rng: np.random.Generator, density: float) -> None:
    """Vertebral bodies with bright end plates, pedicles and spinous processes."""
    bend = rng.uniform(-5, 5)
    tops = [-14.0]
    while tops[-1] < 400:
        tops.append(tops[-1] + 20.2 + 0.026 * tops[-1])
    y = np.array(tops)
    size = np.stack((12.5 + 0.014 * y, 16 + 0.026 * y), axis=-1)[:, None]
    at = np.stack((bend * np.sin(y / 130.0), y), axis=-1)[:, None]
    body = np.array([(-1, 0), (-0.88, 0.5), (-1, 1), (1, 1), (0.88, 0.5), (1, 0)])
    plate = np.array([(-1, -0.06), (-1, 0.06), (1, 0.06), (1, -0.06)])
    # The lower spine lies behind the heart and the liver, where little of it is seen.
    bright = density * np.interp(y, (60, 160), (1.0, 0.55))
    drawing.fill(body * size + at, bright[:, None] * np.array([0.1, 0.08]), (0, 1.2))
    drawing.fill(plate * size + at, density * 0.07)
    for sign in (-1, 1):
        pedicle = ellipse(at[:, 0] + size[:, 0] * (0.62 * sign, 0.38), (2.4, 3.6), points=12)
        drawing.fill(pedicle, density * np.array([0.1, -0.07]), (0, 1.2))
    drawing.fill(
        ellipse(at[:, 0] + size[:, 0] * (0, 0.75), (2.0, 5.2), points=12), density * np.array([0.08, 0.05]), (0, 1.0)
    )


def _shoulders(drawing: Drawing, rng: np.random.Generator, density: float) -> None:
    """Clavicles, scapulae and humeri."""
    lift, roll = rng.uniform(-14, 14), rng.uniform(-6, 6)
    cortex = density * np.array([0.2, 0.16, -0.14, -0.06])
    raised = np.array([0, lift])
    for sign in (-1.0, 1.0):
        line = [(10, 92), (26, 84), (58, 74), (92, 58 + 0.3 * lift), (124, 46 + 0.8 * lift), (152, 50 + lift)]
        axis = curve(jitter(rng, line, 1.2) * (sign, 1) + (roll, 0), per=4)
        half = taper(len(axis), (0, 6.0), (0.1, 6.8), (0.5, 5.0), (0.93, 6.0), (1, 1.5))
        drawing.fill(tube(axis, half), cortex, (0, 1, 2, 3.4))
        head = np.array([sign * 170, 76]) + raised + rng.uniform(-4, 4, 2)
        bone = np.array(
            [(-10, -21), (8, -22), (22, -10), (25, 6), (20, 60), (34, 360), (10, 360), (-4, 60), (-14, 20), (-21, 0)]
        )
        drawing.fill(curve(bone * (sign, 1) + head, per=4, closed=True), density * np.array([0.4, -0.22]), (0.7, 3.5))
        edge = (jitter(rng, [(148, 96), (140, 122), (128, 160), (114, 205)], 2.0) + raised) * (sign, 1)
        drawing.fill(tube(curve(edge, per=4), 2.6), density * np.array([0.12, 0.1]), (0, 1.2))
        blade = np.array([(146, 70), (100, 84), (90, 130), (110, 212), (140, 120)]) + raised
        drawing.fill(curve(blade * (sign, 1), closed=True), density * np.array([0.06, 0.05]), (0, 2.0))
        ridge = (jitter(rng, [(162, 54), (130, 72), (98, 90)], 2.0) + raised) * (sign, 1)
        drawing.fill(tube(curve(ridge, per=4), taper(9, (0, 6.5), (1, 2.5))), 0.7 * cortex, (0, 1, 2, 3))


def _trunk(drawing: Drawing, rng: np.random.Generator, lungs: dict[str, Array], marks: Array) -> None:
    """Soft tissue of trunk, neck and arms, and the air in the lungs."""
    fat = rng.uniform(0, 22)
    slope = rng.uniform(-10, 12)
    silhouette = [
        (40, -80),
        (44, 2),
        (58, 20),
        (120, 34 + slope),
        (176, 42 + slope),
        (216, 76),
        (232, 140),
        (240, 220),
        (250, 480),
    ]
    sides = [(136, 66), (158, 110), (156, 170), (150 + fat, 230), (152 + fat, 300), (158 + fat, 480)]
    contour = np.vstack((silhouette, np.array(silhouette[::-1]) * (-1, 1)))
    skin = curve(contour, per=4, closed=True)
    drawing.fill(skin, (0.18, 0.14), (0, 1.5))
    drawing.fill(skin, (0.16, 0.18, 0.18, 0.18), (3, 8, 15, 25), layer="soft")
    contour = np.vstack((sides, np.array(sides[::-1]) * (-1, 1)))
    drawing.fill(curve(contour, per=4, closed=True), (0.1, 0.08, 0.08), (0, 3, 7), layer="soft")
    chest = np.array([(60, 30), *sides])
    contour = np.vstack((chest, chest[::-1] * (-1, 1)))
    drawing.fill(curve(contour, per=4, closed=True), (0.15, 0.2, 0.25, 0.2), (4, 14, 28, 48), layer="smooth")
    depth = rng.uniform(0.85, 1.1)
    for outline in lungs.values():
        drawing.fill(outline, depth * np.array([-0.36, -0.22, -0.16]), (0, 2.0, 5.0))
        drawing.fill(outline, depth * np.array([-0.16, -0.14, -0.1]), (8.0, 18.0, 28.0), layer="soft")
    if rng.random() < 0.45:  # breasts
        size, low = rng.uniform(36, 60), rng.uniform(5, 40)
        base = float(marks[[2, 5], 1].mean())
        centres = np.array([(-rng.uniform(78, 92), base - low), (rng.uniform(78, 92), base - low)])
        drawing.fill(ellipse(centres, (size, size)), (0.06, 0.06, 0.06), (0, 6, 14), layer="soft")


def _middle(drawing: Drawing, rng: np.random.Generator, marks: Array) -> None:
    """Heart and great vessels, abdomen with the stomach's bubble, windpipe and main bronchi."""
    wide = float(np.ptp(marks[[1, 4], 0]))
    base = float(marks[[2, 5], 1].mean())
    heart = np.array([16 + rng.uniform(-4, 4), base - 52])
    for centre, radii, angle, weights, depths in (
        ((10, base + 112), (0.58 * wide, 140), 0.0, (0.2, 0.25, 0.3), (0, 20, 45)),
        (heart, (62, 74), 0.5, (0.14, 0.17, 0.18), (0, 12, 28)),
        ((0, 160), (30, 200), 0.0, (0.16, 0.14), (0, 9)),
    ):
        drawing.fill(ellipse(centre, radii, angle), weights, depths, layer="smooth")
    if rng.random() < 0.7:
        bubble = marks[5] + rng.uniform((-8, 22), (22, 34))
        outline = ellipse(bubble, rng.uniform((13, 7), (28, 14)), rng.uniform(-0.3, 0.3))
        drawing.fill(curve(jitter(rng, outline[::4], 1.5), closed=True), (-0.12, -0.16), (0, 3))
    sway = rng.uniform(-3, 3)
    trachea = curve([(0, -10), (0, 40), (sway, 80), (sway - 1, 118)], per=4)
    drawing.fill(tube(trachea, rng.uniform(7, 9.5)), (-0.16, -0.16), (0, 2.0))
    for end in ((-30, 148), (36, 152)):
        bronchus = curve(np.array([(sway - 1, 114), moved(mix((sway, 116), end, 0.55), 0, 2), end]), per=4)
        drawing.fill(tube(bronchus, taper(len(bronchus), (0, 6), (1, 4.5))), (-0.08, -0.1), (0, 1.5))


def _findings(drawing: Drawing, rng: np.random.Generator) -> None:
    """Now and then an opacity in a lung, wires on the skin, a side marker."""
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            centre = np.array([rng.choice((-1.0, 1.0)) * rng.uniform(50, 100), rng.uniform(110, 250)])
            outline = curve(jitter(rng, ellipse(centre, rng.uniform(12, 32, 2))[::4], 4.0), closed=True)
            drawing.fill(outline, rng.uniform(0.05, 0.14) * np.ones(3), (0, 4, 9), layer="soft")
    if rng.random() < 0.3:
        leads(drawing, rng, (-140, 60), (140, 330))
    if rng.random() < 0.6:
        letter, sign = (("L", 1), ("R", -1))[int(rng.integers(2))]
        marker(drawing, rng, letter, (sign * 150, 18))


def draw(rng: np.random.Generator) -> Drawing:
    """Draw one chest in mm; its landmarks follow `NAMES`."""
    drawing = Drawing(origin=(0.5 * SETUP.field[0], 0.0))
    density = rng.uniform(0.8, 1.2)
    lungs, marks = _lungs(rng)
    _trunk(drawing, rng, lungs, marks)
    _middle(drawing, rng, marks)
    _spine(drawing, rng, density)
    _ribs(drawing, rng, lungs, density)
    _shoulders(drawing, rng, density)
    _vessels(drawing, rng, lungs)
    _findings(drawing, rng)
    drawing.mark(marks)
    return drawing
