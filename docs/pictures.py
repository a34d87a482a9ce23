"""Draw the README's picture of the phantoms: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from medzoo.core.phantoms import ANATOMIES, radiograph
from medzoo.core.plots import save

FIGURES = Path(__file__).parent / "figures"
COLUMNS, HEIGHT = 4, 300


def phantoms() -> Figure:
    """Return a grid with a row of subjects for each anatomy, the first of each with its landmarks."""
    figure = Figure(figsize=(1.9 * COLUMNS, 2.2 * len(ANATOMIES)), dpi=100, layout="constrained")
    grid = figure.subplots(len(ANATOMIES), COLUMNS, squeeze=False)
    for row, (name, anatomy) in zip(grid, ANATOMIES.items(), strict=True):
        width, height = anatomy.setup.field
        for seed, axes in enumerate(row):
            phantom = radiograph(name, seed, (HEIGHT, round(HEIGHT * width / height)))
            axes.imshow(phantom.image, cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            if seed == 0:
                axes.plot(*phantom.landmarks.T, "o", color="#ff8c1a", markersize=2.5)
                axes.set_title(f"{name}: {len(phantom.landmarks)} landmarks", fontsize=9)
    return figure


if __name__ == "__main__":
    save(phantoms(), FIGURES / "phantoms.png")
