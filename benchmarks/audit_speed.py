"""Processor time and memory of `medzoo audit` on a large table: `python benchmarks/audit_speed.py [ROWS] [REPEATS]`.

The table has three attributes (sex, age between cut points, five sites) that are those of a patient, and half as many
patients as rows on average.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from medzoo.core.cli import main as medzoo


def write_table(path: Path, rows: int) -> None:
    """Write a table of drawn predictions."""
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(0, rows // 2, rows))
    label = (rng.random(rows) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-(rng.normal(size=rows) + 1.5 * label - 1)))
    sex, age, site = (rng.integers(low, high, rows // 2)[patient] for low, high in ((0, 2), (18, 95), (0, 5)))
    with path.open("w") as file:
        file.write("patient,label,score,sex,age,site\n")
        for who, y, p, s, years, where in zip(patient, label, score, sex, age, site, strict=True):
            file.write(f"p{who},{y},{p:.6f},{'fm'[s]},{years},{'ABCDE'[where]}\n")


def main() -> None:
    """Make the table, audit it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("repeats", type=int, nargs="?", default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "predictions.csv")
        write_table(table, args.rows)
        groups = [word for name in ("sex", "age:40,60", "site") for word in ("--group", name)]
        settings = ["--patient", "patient", "--repeats", str(args.repeats), "--out", f"{folder}/audit"]
        start, used = time.perf_counter(), time.process_time()
        with redirect_stdout(StringIO()):
            code = medzoo(["audit", str(table), "--label", "label", "--score", "score", *groups, *settings])
        seconds, used = time.perf_counter() - start, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"code {code}: {seconds:.1f} s, {used:.1f} s of processor time, {memory:.2f} GiB at most")


if __name__ == "__main__":
    main()
