"""The small weights that come with the packages: `python benchmarks/packed_weights.py FOLDER [NAME ...]`.

Fits each by `medzoo fit` with the options below, and packs it as FOLDER/NAME/packed, whose files then replace those
of the package. Run from a clean clone, so that the card names the commit. A run that FOLDER has already is resumed,
and not repeated where it has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medzoo.core.cli import main

LICENCE = "Apache-2.0, as that of the drawn images that they were made of"
_GEARS = "--data texture-phantoms --data.test_categories [gear] --data.shots 4 --data.pixels 128"
_CHESTS = "--data.domains [chest] --data.n_train 60 --data.n_test 30 --data.shots all --data.image_size 256"
_UOD = "--data.domains [head] --model.match_steps 200 --model.size 96 --model.embed 16 --model.detect_steps 1000"
FITS = {
    "classifier-phantom": "--model classifier --data.train 600 --data.test 200",
    "heatmap-phantom": f"--model heatmap {_CHESTS} --model.size 64 --model.width 8 --model.decoder_width 32"
    " --model.sigma 1.5 --model.steps 220 --model.batch 8",
    "uod-phantom": f"--model uod {_UOD}",
    "padim-phantom": f"--model padim {_GEARS}",
    "patchcore-phantom": f"--model patchcore {_GEARS} --model.backbone resnet18",
    "normnet-phantom": "--model normnet",
}
"""The options of the fit by name: the quick recipe, and what makes it small."""


def make(name: str, folder: Path) -> None:
    """Fit and pack the weights of a name."""
    run, packed = folder / name / "run", folder / name / "packed"
    options = FITS[name].split()
    if not (run / "results.json").is_file():
        resume = ["--resume"] if (run / "config.yaml").is_file() else []
        if main(["fit", *options, "--run_dir", str(run), "--quiet", *resume]):
            raise SystemExit(f"{name}: the fit failed")
    if main(["pack", str(run), "-o", str(packed), "--licence", LICENCE]):
        raise SystemExit(f"{name}: not packed")


if __name__ == "__main__":
    for chosen in sys.argv[2:] or FITS:
        make(chosen, Path(sys.argv[1]))
