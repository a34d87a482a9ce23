"""Lateral cephalogram, face to the right: skull, jaws, teeth, neck and profile; the 19 landmarks of ISBI 2015."""

from __future__ import annotations

import numpy as np

from medzoo.core.phantoms.clutter import marker, ruler
from medzoo.core.phantoms.physics import Setup
from medzoo.core.phantoms.shapes import Array, Drawing, curve, ellipse, jitter, mix, moved, taper, tube, turned

SETUP = Setup(field=(196.0, 243.0), window=(0.08, 0.99), rotation=0.11, scale=0.07, shift=0.06, warp=0.007)
NAMES = (
    *(
        "sella",
        "nasion",
        "orbitale",
        "porion",
        "subspinale",
        "supramentale",
        "pogonion",
        "menton",
        "gnathion",
        "gonion",
    ),
    *("lower incisor", "upper incisor", "upper lip", "lower lip", "subnasale", "soft tissue pogonion"),
    *("posterior nasal spine", "anterior nasal spine", "articulare"),
)

# Mean positions in mm, from cephalometric norms (SN 68, SNA 82 degrees, SNB 80, N-Me 120, ANS-PNS 52).
_MEAN = {
    "S": (81, 100), "N": (147, 98), "Or": (131, 126), "Po": (57, 122), "A": (141, 162), "B": (137, 199),
    "Pog": (137.5, 213), "Me": (127, 221.5), "Gn": (134.5, 219), "Go": (71, 187), "LI": (145.5, 182.5),
    "UI": (148.5, 184.5), "UL": (161, 171), "LL": (158, 189), "Sn": (153.5, 158), "sPog": (150, 213),
    "PNS": (95, 153), "ANS": (147.5, 152.5), "Ar": (65, 134),
}  # fmt: skip
_ORDER = (
    *(
        "S",
        "N",
        "Or",
        "Po",
        "A",
        "B",
        "Pog",
        "Me",
        "Gn",
        "Go",
        "LI",
        "UI",
        "UL",
        "LL",
        "Sn",
        "sPog",
        "PNS",
        "ANS",
        "Ar",
    ),
)
_JAW = ("B", "Pog", "Me", "Gn", "Go", "LI", "LL", "sPog")
_FACE = ("A", "UI", "UL", "Sn", "PNS", "ANS")

Points = dict[str, Array]


def _subject(rng: np.random.Generator) -> Points:
    """Landmarks of one subject: height and depth of the face, length and rotation of the jaw, small deviations."""
    points = {name: jitter(rng, [xy], 0.8)[0] for name, xy in _MEAN.items()}
    down, forward = rng.uniform(-5, 5), rng.uniform(-4, 4)
    drop = rng.uniform(-0.4, 1.0) * down
    for name in _FACE:
        points[name] = points[name] + (forward, down)
    open_by, growth = rng.uniform(-0.04, 0.05), rng.uniform(-0.05, 0.06)
    hinge = points["Ar"]
    for name in _JAW:
        placed = turned(points[name], open_by, hinge)
        points[name] = placed + growth * (placed - hinge) + (0.4 * forward, 0.5 * (down + drop))
    # The bite stays closed: incisor tips keep their overlap, lips follow the teeth.
    bite = points["UI"] + rng.uniform((-5.0, -4.0), (-1.5, 0.5)) - points["LI"]
    points["LI"] = points["LI"] + bite
    points["LL"] = 0.5 * (points["LL"] + points["UI"] + (9.5, 6.5)) + rng.uniform(-1, 1, 2)
    points["UL"] = points["UL"] + rng.uniform(-1.5, 1.5, 2)
    points["sPog"] = points["Pog"] + (rng.uniform(9.5, 14), rng.uniform(-2, 2))
    # Chin points lie on one smooth curve; menton lowest, gnathion between it and pogonion.
    points["Gn"] = moved(mix(points["Pog"], points["Me"], 0.5), 2.2, 2.0)
    return points


def _profile(p: Points, rng: np.random.Generator) -> Array:
    """Skin of face and neck, from the crown over nose, lips and chin to the back of the neck."""
    nose = rng.uniform(0.8, 1.2)
    tip = p["Sn"] + (17 * nose, -10 * nose + rng.uniform(-3, 3))
    stomion = 0.5 * (p["UL"] + p["LL"]) + (-4.5, 0)
    fold = moved(mix(p["LL"], p["sPog"], 0.5), -5.5, -1)
    face = np.array([
        (60, -60), (120, -40), (158, 20), p["N"] + (17, -38), p["N"] + (14, -16), p["N"] + (8.5, 1),
        moved(mix(p["N"], tip, 0.45), 5.5, -2),
        moved(tip, -3.5, -7), moved(tip, -0.4, -1.5), moved(tip, -3, 3.5), moved(mix(p["Sn"], tip, 0.35), 0.5, 1.2),
        p["Sn"],
        moved(mix(p["Sn"], p["UL"], 0.55), -0.6, 0.5), p["UL"] + (-1.0, -3.2), p["UL"], p["UL"] + (-1.6, 4), stomion,
        p["LL"] + (-1.4, -4), p["LL"], p["LL"] + (-2.2, 4.5), fold, p["sPog"] + (-1.0, -6), p["sPog"],
        p["sPog"] + (-3.5, 9),
        p["Me"] + (3, 9.5), p["Me"] + (-18, 12), p["Me"] + (-42, 18), (88, 262), (84, 330),
    ])  # fmt: skip
    back = np.array([(-30, 330), (-18, 240), (-8, 170), (-14, 130), (-26, 80), (-22, 10), (10, -45)])
    return np.vstack((curve(face, per=4), curve(back, per=3)))


def _vault(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Brain case with both tables of its bone, and the lines of the skull base with the sella."""
    tall, long = rng.uniform(-8, 8), rng.uniform(-8, 8)
    outer = np.array([
        p["N"], p["N"] + (4, -9), p["N"] + (6, -24), (150, 44 + tall), (132, 8 + tall), (98, -14 + tall),
        (50, -12 + tall),
        (14 + long, 16 + tall), (-3 + long, 56), (0 + long, 92), (14 + long, 118), (34, 132), (56, 142),
        p["S"] + (-14, 22),
        p["S"] + (-4, 12), p["S"] + (8, 8), p["S"] + (34, -2), moved(mix(p["S"], p["N"], 0.78), 0, -4),
    ])  # fmt: skip
    case = curve(outer, per=5, closed=True)
    drawing.fill(case, density * np.array([0.3, 0.22, -0.12, 0.08, -0.16]), (0, 1.2, 2.4, 4.2, 5.6))
    drawing.fill(case, density * np.array([-0.06, -0.05]), (9, 20), layer="soft")
    for _ in range(3):  # sutures and the grooves of vessels
        course = np.linspace((40, 10), rng.uniform((60, 70), (130, 90)), 6)
        knots = jitter(rng, course + rng.uniform((-20, -10), (50, 10)), 3.0)
        drawing.fill(tube(curve(knots, per=3), 0.6), -0.07 * density)
    sella = p["S"] + np.array([(-6.5, -8), (-7.5, -2), (-5.5, 4), (0, 6.3), (5.5, 4.2), (7, -1), (5.5, -5.5)])
    front = np.vstack(
        (sella[-1:], p["S"] + (14, -7.5), p["S"] + (30, -8), moved(mix(p["S"], p["N"], 0.8), 0, -9), p["N"] + (-2, -8))
    )
    clivus = np.vstack((sella[:1], p["S"] + (-10, 1), p["S"] + (-15, 10), p["S"] + (-18, 18)))
    roof = np.array([p["S"] + (16, 2), p["S"] + (34, -14), moved(mix(p["S"], p["N"], 0.85), 0, -16), p["N"] + (0, -4)])
    drawing.fill(ellipse(p["S"] + (0, -1), (6, 6)), -0.12, layer="sharp")
    for line, half in ((sella, 1.1), (front, 1.0), (clivus, 1.3), (roof, 0.8), (moved(roof, 2, 3), 0.7)):
        axis = curve(line, per=4)
        width = half * taper(len(axis), (0, 0.5), (0.1, 1.1), (0.5, 0.8), (0.8, 1.2), (1, 0.4))
        drawing.fill(tube(axis, width), density * np.array([0.24, 0.14]), (0, 0.4))
    for at, radii, weight in (((9, 12), (9, 7), -0.14), ((34, 8), (15, 7), -0.1)):  # sphenoid and ethmoid sinuses
        drawing.fill(ellipse(p["S"] + at, radii), (weight, weight), (0, 1.5))
    drawing.fill(ellipse(p["N"] + (1, -11), rng.uniform((3, 6), (5, 11)), -0.2), (-0.16, -0.16), (0, 1.0))


def _ear(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Dense petrous bone, the ear canal whose upper margin is porion, mastoid cells."""
    canal = p["Po"] + (0, 4.6)
    drawing.fill(
        ellipse(moved(canal, 6, -2), (19, 13), -0.35), density * np.array([0.07, 0.07, 0.06]), (0, 3, 6), layer="soft"
    )
    mastoid = np.array([(-14, -6), (4, -2), (6, 12), (-2, 27), (-9, 25), (-16, 8)]) + canal
    drawing.fill(curve(mastoid, per=5, closed=True), density * np.array([0.12, 0.06, -0.08]), (0, 1.2, 3))
    cells = moved(canal, -7, 10) + rng.uniform(-8, 8, (14, 2))
    drawing.fill(ellipse(cells, rng.uniform(1.0, 2.4, (14, 2)), points=12), -0.12)
    drawing.fill(ellipse(canal, (6.4, 6.4)), density * 0.2)
    drawing.fill(ellipse(canal, (4.6, 4.6)), (-0.42 * density, -0.2), (0, 0.8))


def _upper_face(drawing: Drawing, p: Points, density: float) -> None:
    """Orbit with its lower rim orbitale, nasal bone, cheek bone with key ridge and arch."""
    thin = density * np.array([0.22, 0.16])
    rim = p["Or"] + np.array([
        (8.5, -29), (-2, -30), (-10, -23), (-12.5, -13), (-8, -3.5), (0, 0), (6.5, -2.5), (10, -7),
    ])  # fmt: skip
    side = p["Or"] + np.array([(3, -29), (-5, -20), (-6, -11), (-1, -4)])
    for line, half in ((rim, 1.1), (side, 0.9)):
        axis = curve(line, per=4)
        drawing.fill(tube(axis, half * taper(len(axis), (0, 0.5), (0.3, 0.9), (0.75, 1.3), (1, 0.3))), thin, (0, 0.5))
    drawing.fill(ellipse(p["Or"] + (-1, -15), (11, 13)), (-0.05, -0.05), (0, 2), layer="soft")
    middle = np.array([
        p["N"] + (-4, 4), p["Or"] + (8, 4), p["ANS"] + (-8, -6), p["PNS"] + (2, -4), p["S"] + (8, 14), p["S"] + (30, 0),
    ])  # fmt: skip
    drawing.fill(curve(middle, per=4, closed=True), density * np.array([0.1, 0.1]), (0, 5), layer="soft")
    nasal = p["N"] + np.array([(0, 0), (4.5, 9), (9.5, 21), (7, 20), (1, 9), (-3, 3)])
    drawing.fill(curve(nasal, per=4, closed=True), density * np.array([0.25, 0.1]), (0, 0.7))
    axis = curve(p["Or"] + np.array([(-5, 3), (-9, 13), (-13, 19), (-17, 13), (-20, 2)]), per=4)
    drawing.fill(tube(axis, taper(len(axis), (0, 0.8), (0.5, 2.2), (1, 0.6))), thin, (0, 0.6))
    drawing.fill(ellipse(p["Or"] + (-11, 9), (8, 10), 0.2), 0.6 * thin, (0, 3), layer="soft")
    arch = np.array([p["Or"] + (-17, 6), p["Or"] + (-30, 4), p["Po"] + (26, 3)])
    drawing.fill(tube(curve(arch, per=4), taper(9, (0, 3.4), (1, 2.0))), 0.35 * thin, (0, 0.8))


def _upper_jaw(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Upper jaw with palate between the nasal spines, its sinus, and the fissure behind it."""
    ridge = 0.5 * (p["UI"] + p["A"]) + (1.5, -3.5)
    jaw = np.array([
        p["ANS"], p["A"] + (2.6, -5), p["A"], p["A"] + (1.6, 4), ridge, moved(ridge, -8, 4), moved(ridge, -26, 5),
        p["PNS"] + (8, 20), p["PNS"] + (-2, 14), p["PNS"], p["PNS"] + (-2, -14),
        p["Or"] + (-18, 2), p["Or"] + (-6, 2), p["Or"] + (4, 6), p["ANS"] + (-8, -7),
    ])  # fmt: skip
    drawing.fill(curve(jaw, per=4, closed=True), density * np.array([0.22, 0.14, -0.08, -0.06]), (0, 0.9, 1.9, 4))
    back, front = moved(mix(p["PNS"], p["ANS"], 0.33), 0, -0.5), moved(mix(p["PNS"], p["ANS"], 0.75), 0, 0.3)
    palate = curve(np.array([p["PNS"], back, front, p["ANS"]]), per=5)
    half = taper(len(palate), (0, 0.5), (0.15, 1.6), (0.85, 2.0), (1, 0.3))
    drawing.fill(tube(palate, half), density * np.array([0.35, 0.2]), (0, 0.6))
    sinus = np.array([
        p["Or"] + (-3, 6), p["Or"] + (2, 13), moved(mix(p["A"], p["PNS"], 0.22), 0, -8),
        moved(mix(p["A"], p["PNS"], 0.45), 0, 4), moved(mix(p["A"], p["PNS"], 0.75), 0, 5),
        p["PNS"] + (7, -6), p["PNS"] + (6, -22), p["Or"] + (-16, 4),
    ])  # fmt: skip
    drawing.fill(jitter(rng, curve(sinus, per=4, closed=True), 0.3), (0.06, -0.17, -0.1), (-0.4, 0.5, 2.0))
    fissure = p["PNS"] + np.array([(-2, -28), (2, -22), (-1, -8), (-4, -20)])
    drawing.fill(curve(fissure, per=4, closed=True), -0.22)


def _mandible(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Lower jaw with its two sides slightly apart, as divergent rays project them."""
    ridge = moved(mix(p["LI"], p["B"], 0.55), 0.5, 0)
    notch = moved(mix(p["Go"], p["Me"], 0.42), 0, -5)
    outline = np.array([
        p["Ar"], moved(mix(p["Ar"], p["Go"], 0.5), 2.0, 0), p["Go"] + (-0.4, -8), p["Go"], p["Go"] + (7, 5.5), notch,
        moved(mix(p["Go"], p["Me"], 0.75), 0, 0.5), p["Me"], p["Gn"], p["Pog"], p["B"], ridge, moved(ridge, -7, -0.5),
        moved(ridge, -30, -3),
        p["Go"] + (30, -16), p["Go"] + (27, -34), p["Ar"] + (28, 2), p["Ar"] + (23, -3), p["Ar"] + (15, 8),
        p["Ar"] + (8, -7), p["Ar"] + (1, -11),
        p["Ar"] + (-3.0, -7),
    ])  # fmt: skip
    near = curve(outline, per=5, closed=True)
    far = near + rng.uniform((-4, -3.5), (3, 0))
    drawing.fill(far, density * np.array([0.1, 0.08, -0.06]), (0, 1.2, 2.4))
    drawing.fill(near, density * np.array([0.26, 0.24, 0.08, -0.18, -0.1]), (0, 0.9, 1.8, 3.2, 4.8))
    chin = np.array([
        p["B"], p["Pog"], p["Gn"], p["Me"], p["Me"] + (-7, -5), moved(mix(p["Me"], p["LI"], 0.5), -6, 0),
        moved(ridge, -5, 1),
    ])  # fmt: skip
    drawing.fill(curve(chin, per=4, closed=True), density * np.array([0.16, 0.16]), (2.0, 4.0), layer="soft")
    canal = curve(
        [p["Go"] + (14, -28), p["Go"] + (20, -12), moved(mix(p["Go"], p["Me"], 0.5), 0, -14), p["Me"] + (-14, -14)],
        per=5,
    )
    drawing.fill(tube(canal, taper(len(canal), (0, 1.8), (1, 0.8))), -0.05)


# One tooth pointing down: half width at each height, from the root's end (0) to the crown's edge (1).
_INCISOR = ((0.0, 0.1), (0.3, 0.5), (0.58, 0.78), (0.72, 0.9), (0.86, 0.72), (1.0, 0.12))
_MOLAR = ((0.0, 0.2), (0.05, 0.5), (0.3, 0.72), (0.55, 0.8), (0.7, 1.0), (0.9, 0.98), (1.0, 0.75))


def _tooth(shape: tuple[tuple[float, float], ...], root: Array, edge: Array, half: float) -> Array:
    axis = root + taper(14, (0, 0), (1, 1))[:, None] * (edge - root)
    return tube(axis, half * taper(14, *shape))


def _teeth(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Incisors whose edges are landmarks, and two rows of premolars and molars behind them."""
    enamel = density * np.array([0.3, 0.25, -0.06])
    lean = rng.uniform(-2.5, 2.5)
    for tip, root in (
        (p["UI"], moved(mix(p["ANS"], p["PNS"], 0.2), lean, 8)),
        (p["LI"], moved(mix(p["B"], p["Me"], 0.2), -6 + lean, 1)),
    ):
        drawing.fill(_tooth(_INCISOR, root, tip, 3.9), enamel, (0, 0.6, 1.6))
        drawing.fill(_tooth(_INCISOR, mix(root, tip, 0.62), tip, 3.0), 0.22 * density)
    back = moved(mix(p["PNS"], p["Go"], 0.42), 18, 10)
    front = p["UI"] + (-9.5, -3.5)
    uppers, lowers, crowns = [], [], []
    for k, share in enumerate((0.0, 0.17, 0.36, 0.62, 0.9)):
        half = (3.7, 3.5, 3.8, 5.2, 5.0)[k]
        edge = mix(front, back, share) + rng.uniform(-0.6, 0.6, 2)
        lean_x = rng.uniform(-2, 1)
        uppers.append(_tooth(_MOLAR, moved(edge, lean_x, -20), edge, half))
        lowers.append(_tooth(_MOLAR, moved(edge, lean_x - 3.5, 21), moved(edge, -1.5, 1.0), half))
        crowns += [ellipse(moved(edge, 0, -3.2), (0.9 * half, 3.4)), ellipse(moved(edge, -1.5, 4.2), (0.9 * half, 3.4))]
    drawing.fill(np.array(uppers + lowers), density * np.array([0.16, 0.14]), (0, 0.7))
    drawing.fill(np.array(crowns), density * np.array([0.16, 0.14]), (0, 0.8))
    if rng.random() < 0.4:  # fillings
        for at in rng.integers(4, 10, rng.integers(1, 4)):
            centre = crowns[at].mean(axis=0) + rng.uniform(-1.5, 1.5, 2)
            drawing.fill(ellipse(centre, rng.uniform(1.2, 2.4, 2), points=12), 0.7)


_DENS = np.array([(-0.3, -1.3), (0.3, -1.3), (0.5, -0.2), (0.95, 0.9), (-0.95, 0.9), (-0.5, -0.2)]) * (8, 11)
_BODY = np.array([(-1, -1), (0, -0.85), (1, -1), (0.9, 0), (1, 1), (0, 0.85), (-1, 1), (-0.9, 0)]) * (8.5, 7.2)
_SPINE = np.array([(-13, -2), (-24, 0), (-37, 6), (-38, 9), (-25, 6), (-13, 4)])


def _neck(drawing: Drawing, p: Points, rng: np.random.Generator, density: float) -> None:
    """Cervical vertebrae, airway, hyoid."""
    lean = rng.uniform(-0.25, 0.2)
    bodies: list[Array] = []
    spines: list[Array] = []
    at, heading = np.array([50.0, 146.0]) + rng.uniform(-3, 3, 2), 0.1
    drawing.fill(curve(_DENS + moved(at, 0, 12), per=4, closed=True), density * np.array([0.2, 0.16, -0.08]), (0, 1, 2))
    for _ in range(6):
        heading += lean / 6
        at = at + turned((0, 19 if bodies else 32), heading)
        bodies.append(turned(_BODY, heading) + at)
        spines.append(turned(_SPINE, heading) + at)
    drawing.fill(curve(bodies, per=3, closed=True), density * np.array([0.24, 0.2, -0.12]), (0, 1.0, 2.2))
    drawing.fill(curve(spines, per=3, closed=True), density * np.array([0.12, 0.1, -0.06]), (0, 1.0, 2.2))
    way = np.vstack((p["PNS"] + [(-9, -12), (-13, 4), (-17, 28)], p["Go"] + [(8, 12), (12, 40), (14, 110)]))
    axis = curve(way, per=5)
    width = taper(len(axis), (0, 5), (0.3, 5.5), (0.6, 4), (0.8, 6.5), (1, 7)) * rng.uniform(0.7, 1.3)
    drawing.fill(tube(axis, width), -0.1)
    drawing.fill(tube(axis, width), (-0.1, -0.1), (0, 1.4), layer="soft")
    hyoid = p["Me"] + np.array([(-46, 4), (-34, 1), (-31, 4), (-35, 6)]) + rng.uniform((-4, -2), (4, 6))
    drawing.fill(curve(hyoid, per=4, closed=True), density * np.array([0.16, 0.14]), (0, 0.8))


def _around(drawing: Drawing, p: Points, rng: np.random.Generator) -> None:
    """Parts of the head holder, a ruler, a side marker."""
    if rng.random() < 0.35:  # the ear rods' rings, behind the canal
        drawing.fill(
            ellipse(p["Po"] + (-1, 6) + rng.uniform(-1.5, 1.5, 2), (3.4, 3.4), points=20), (0.5, -0.3), (0, 1.1)
        )
    if rng.random() < 0.4:
        ruler(drawing, rng, p["N"] + (30, -70), rng.choice((50.0, 100.0)))
    if rng.random() < 0.4:
        marker(drawing, rng, ("L", "R")[int(rng.integers(2))], (176, 30))


def draw(rng: np.random.Generator) -> Drawing:
    """Draw one head in mm; its landmarks follow `NAMES`."""
    drawing = Drawing()
    density = rng.uniform(0.8, 1.15)
    flesh = rng.uniform(0.85, 1.2)
    p = _subject(rng)
    skin = _profile(p, rng)
    drawing.fill(skin, flesh * np.array([0.13, 0.06]), (0, 1.2))
    drawing.fill(skin, flesh * np.array([0.06, 0.06, 0.06]), (3.0, 7.0, 13.0), layer="soft")
    drawing.fill(ellipse((75, 90), (88, 125), -0.3), flesh * np.array([0.08, 0.1, 0.12]), (0, 10, 24), layer="smooth")
    drawing.fill(ellipse((45, 210), (45, 90)), flesh * np.array([0.1, 0.12]), (0, 10), layer="smooth")
    _neck(drawing, p, rng, density)
    _vault(drawing, p, rng, density)
    _ear(drawing, p, rng, density)
    _upper_face(drawing, p, density)
    _upper_jaw(drawing, p, rng, density)
    _mandible(drawing, p, rng, density)
    _teeth(drawing, p, rng, density)
    _around(drawing, p, rng)
    drawing.mark([p[name] for name in _ORDER])
    return drawing
