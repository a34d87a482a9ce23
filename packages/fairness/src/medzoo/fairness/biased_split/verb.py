"""`medzoo biased-split FILE`: the command line."""

from __future__ import annotations

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_values
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.values import Row

HELP = """usage: medzoo biased-split FILE --label COLUMN --bias COLUMN --aligned N --rho R [options]

Split a table of images so that an attribute goes with the label in training only, patient by patient. Writes the rows
that are used with a column `split`, which `classes-table` reads, and beside it a card with the counts of each part.
  --label COLUMN     0 or 1; rows where it is empty are left out
  --bias COLUMN      0 or 1, likewise
  --id COLUMN        name of the image (default: id)
  --patient COLUMN   images of one patient come into one part; without it each image is a patient of its own
  --aligned N        training images of each of the two aligned cases (bias = label)
  --rho R            share of the training images that are aligned, above 0.5 and below 1
  --val N            validation images of each of the four cases (default: 100)
  --test N           test images of each (default: 200)
  --seed N           of the order of patients (default: 0)
  --out FILE         table to write (default: split.csv)
"""
_VALUED = ("--label", "--bias", "--id", "--patient", "--aligned", "--rho", "--val", "--test", "--seed", "--out")


def run(args: list[str]) -> None:
    """Split a table.

    Raises:
        ConfigError: The arguments are wrong, or there are too few images.
        DataError: The table cannot be read.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo biased-split needs FILE")
        return
    files, values = words_and_values(args, _VALUED)
    for needed in ("--label", "--bias", "--aligned", "--rho"):
        if needed not in values:
            raise ConfigError(f"medzoo biased-split needs {needed}")
    if len(files) != 1:
        raise ConfigError(f"medzoo biased-split needs one FILE, got {' '.join(files) or 'none'}")
    _split(files[0], values)


def _split(path: str, values: dict[str, str]) -> None:
    numbers = {flag: _whole(flag, values.get(flag, default)) for flag, default in
               (("--aligned", ""), ("--val", "100"), ("--test", "200"), ("--seed", "0"))}  # fmt: skip
    try:
        rho = float(values["--rho"])
    except ValueError:
        rho = 0.0
    if not 0.5 < rho < 1:
        raise ConfigError(f"--rho {values['--rho']}: expected a number above 0.5 and below 1")
    from pathlib import Path

    import numpy as np

    from medzoo.core.io import Column, read_table, write_csv, write_json
    from medzoo.fairness.biased_split.split import Wanted, biased_split, shared_patients, tables

    if not Path(path).is_file():
        raise DataError(path, "does not exist", "check the path")
    out = Path(values.get("--out", "split.csv"))
    if out.resolve() == Path(path).resolve():
        raise ConfigError(f"--out {out}: is the table itself, whose other columns would be lost; give another file")
    label, bias, name, patient = (
        values.get(flag, default)
        for flag, default in (("--label", ""), ("--bias", ""), ("--id", "id"), ("--patient", ""))
    )
    chosen = [label, bias, name, *filter(None, [patient])]
    if len({column.casefold() for column in chosen}) < len(chosen):
        raise ConfigError(f"medzoo biased-split: a column is named twice among {', '.join(chosen)}")
    marks = [Column(column, "number", optional=True, low=0, high=1) for column in (label, bias)]
    more = [Column(patient, optional=True)] if patient else []
    table = read_table(path, [name, *marks, *more], unique=[name])
    codes = []
    for column in (label, bias):
        given = table.numbers(column)
        odd = np.flatnonzero(~np.isnan(given) & (given != 0) & (given != 1))
        if len(odd):
            row = int(odd[0])
            raise table.error(
                row, column, f"{column} is {given[row]:g}, expected 0 or 1", "correct it or leave it empty"
            )
        codes.append(np.where(np.isnan(given), -1, given).astype(np.int64))
    patients = list(table.texts(patient)) if patient else [""] * len(table)
    wanted = Wanted(numbers["--aligned"], rho, numbers["--val"], numbers["--test"])
    parts = biased_split(codes[0], codes[1], patients, wanted, numbers["--seed"])
    leaks = shared_patients(parts, patients)
    assert not leaks, leaks
    rows: list[Row] = [
        {name: image, label: int(y), bias: int(b), **({patient: whose} if patient else {}), "split": part}
        for image, y, b, whose, part in zip(table.texts(name), *codes, patients, parts, strict=True)
        if part
    ]
    write_csv(out, rows)
    found = tables(parts, *codes)
    facts = {"aligned": wanted.aligned, "rho": rho, "val": wanted.val, "test": wanted.test, "seed": numbers["--seed"]}
    card = {"table": path, "label": label, "bias": bias, **facts, "shared_patients": len(leaks), "parts": found}
    write_json(out.with_suffix(".json"), card)
    for part, own in found.items():
        say(f"{part}: [label][bias] {own['counts']}, phi {own['phi']:.3f}")
    say(f"written: {out}, {out.with_suffix('.json')}")


def _whole(flag: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and (int(text) > 0 or flag in ("--seed", "--val"))):
        raise ConfigError(f"{flag} {text}: expected a whole number{'' if flag in ('--seed', '--val') else ' above 0'}")
    return int(text)
