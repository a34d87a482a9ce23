"""APPLE on a scanner that its victim hardly knows: `python benchmarks/fairness_adapt.py [SEED ...] [--out FILE]`.

The victim learns from 400 drawn structures, one in a hundred of them by scanner b; the perturbation from 400, of
which half are. With each layer and weight of the adversary: Dice of both scanners on 200 images, the gap, and how well
a new network tells the scanner. `--ceiling` trains plain networks on few and on many images of scanner b instead, which
shows what its images allow.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from medzoo.core.cli import main as medzoo

LAYERS = {"bottleneck": "[bottleneck]", "all": "[down.0, down.1, down.2, bottleneck]"}
SETTINGS = [("bottleneck", 0.0), ("bottleneck", 0.1), ("all", 0.0), ("all", 0.1)]
CHOSEN = ("base_dice/a", "base_dice/b", "base_dice_gap", "dice/a", "dice/b", "dice_gap", "base_probe", "probe")
LOOK = {"full contrast": (1.0, 0.3), "0.7 of the contrast": (0.7, 0.3), "0.4 of the contrast": (0.4, 0.2)}


def fit(options: list[str], folder: Path, seed: int) -> dict[str, float]:
    """Return the figures of a fit of the command line, without the name of the data.

    Raises:
        RuntimeError: It failed.
    """
    own = ["--seed_everything", str(seed), "--data.seed", str(seed), "--run_dir", str(folder), "--quiet"]
    log = StringIO()
    with redirect_stdout(log), redirect_stderr(log):
        code = medzoo(["fit", *options, *own, "--data.test", "200", "--trainer.accelerator", "cpu"])
    if code:
        raise RuntimeError(log.getvalue()[-2000:])
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    return {name.partition("/")[2].removeprefix("scanner/"): value for name, value in metrics.items()}


def look(name: str) -> list[str]:
    """Return the options of a scanner b."""
    contrast, offset = LOOK[name]
    return ["--data.contrast", str(contrast), "--data.offset", str(offset)]


def adapted(name: str, seed: int) -> list[dict[str, object]]:
    """Return a row of figures for each setting of APPLE."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fit(["--model", "apple", "--model.stage", "segment", "--data.minority", "0.01", *look(name)], root / "v", seed)
        victim = ["--model.victim", str(root / "v/checkpoints/last.ckpt"), "--model.epochs", "6"]
        for number, (layers, beta) in enumerate(SETTINGS):
            more = ["--model.layers", LAYERS[layers], "--model.beta", str(beta), "--data.minority", "0.5", *look(name)]
            found = fit(["--model", "apple", "--model.stage", "perturb", *victim, *more], root / str(number), seed)
            figures = {figure: found[figure] for figure in CHOSEN}
            rows.append({"scanner b": name, "seed": seed, "layers": layers, "beta": beta, **figures})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def ceiling(name: str, seed: int) -> list[dict[str, object]]:
    """Return the Dice of plain networks that were trained on few and on many images of scanner b."""
    rows: list[dict[str, object]] = []
    for share in ("0.01", "0.2", "0.5"):
        with tempfile.TemporaryDirectory() as folder:
            few = ["--data.minority", share, *look(name)]
            fit(["--model", "apple", "--model.stage", "segment", *few], Path(folder, "v"), seed)
            last = str(Path(folder, "v/checkpoints/last.ckpt"))
            none = ["--model.victim", last, "--model.epochs", "1", "--model.epsilon", "0", "--data.minority", "0.5"]
            found = fit(["--model", "apple", "--model.stage", "perturb", *none, *look(name)], Path(folder, "p"), seed)
        figures = {"a": found["base_dice/a"], "b": found["base_dice/b"]}
        rows.append({"scanner b": name, "seed": seed, "share": share, **figures})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Read the arguments, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--look", choices=list(LOOK), default="0.7 of the contrast")
    parser.add_argument("--ceiling", action="store_true", help="plain networks instead")
    parser.add_argument("--out", type=Path, help="file for a line of JSON each")
    args = parser.parse_args()
    for seed in args.seeds:
        rows = (ceiling if args.ceiling else adapted)(args.look, seed)
        if args.out is not None:
            with args.out.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
