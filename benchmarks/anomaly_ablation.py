"""NormNet on the CT phantom with one operator of its generator of lesions left out at a time.

    python benchmarks/anomaly_ablation.py --run_dir runs/ablation

Each row is `medzoo fit --model normnet` as it stands, training lesions and those that the threshold is chosen on made
without the operator; the test is the same for all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from medzoo.anomaly.lesions import PRESETS
from medzoo.core.cli import main as medzoo
from medzoo.core.io import read_json

LEFT_OUT = {
    "noise": {"salted": False},
    "filter": {"smoothed": False},
    "shape": {"deform": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--without", nargs="+", choices=LEFT_OUT, default=list(LEFT_OUT))
    options, more = parser.parse_known_args()
    whole = PRESETS["lung"]
    for name in options.without:
        PRESETS["lung"] = replace(whole, **LEFT_OUT[name])
        folder = options.run_dir / name
        if medzoo(["fit", "--model", "normnet", "--run_dir", str(folder), "--quiet", *more]):
            raise SystemExit(f"the fit without {name} failed")
        found = read_json(folder / "results.json")["metrics"]
        kinds = {key.removesuffix("/dice"): value for key, value in found.items() if key.endswith("/dice")}
        print(f"without {name:8}", "  ".join(f"{kind} {value:.3f}" for kind, value in kinds.items()), flush=True)


if __name__ == "__main__":
    main()
