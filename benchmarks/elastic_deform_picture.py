"""Draw a grid, a radiograph phantom, its mask and its landmarks before and after one deformation.

python benchmarks/elastic_deform_picture.py docs/figures/elastic_deform.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from medzoo.core.ops.elastic_deform import RandomElasticDeform
from medzoo.core.phantoms import radiograph


def grid_image(height: int, width: int, step: int = 16) -> torch.Tensor:
    grid = torch.zeros(1, 1, height, width)
    for line in range(step // 2, height, step):
        grid[..., line : line + 2, :] = 1
    for line in range(step // 2, width, step):
        grid[..., line : line + 2] = 1
    return grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    phantom = radiograph("hand", 3, (320, 256))
    image = torch.as_tensor(np.asarray(phantom.image), dtype=torch.float32)
    height, width = image.shape
    grid = grid_image(height, width)
    mask = (image > image.mean()).long() + (image > 0.7).long()
    before = {
        "image": image[None, None],
        "grid": grid,
        "mask": mask[None],
        "landmarks": torch.as_tensor(np.asarray(phantom.landmarks), dtype=torch.float32)[None],
    }
    sampling = {"image": (1, "border"), "grid": (1, "zeros"), "mask": ("label", "border")}
    augment = RandomElasticDeform(grid=7, rotation=8, zoom=(0.95, 1.05), sampling=sampling)  # type: ignore[arg-type]
    after = augment(before, torch.Generator().manual_seed(4))
    figure, axes = plt.subplots(2, 3, figsize=(9, 7.6), constrained_layout=True)
    for row, (name, data) in enumerate((("before", before), ("after", after))):
        points = data["landmarks"][0]
        for axis, key, colours in zip(axes[row], ("grid", "image", "mask"), ("Greys", "gray", "viridis"), strict=True):
            axis.imshow(data[key].reshape(height, width), cmap=colours, interpolation="nearest")
            axis.set_title(f"{key}, {name}", fontsize=9)
            axis.set_axis_off()
            if key != "mask":
                axis.scatter(points[:, 0], points[:, 1], s=9, c="#d1495b")
            axis.set_xlim(-0.5, width - 0.5)
            axis.set_ylim(height - 0.5, -0.5)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=130)


if __name__ == "__main__":
    main()
