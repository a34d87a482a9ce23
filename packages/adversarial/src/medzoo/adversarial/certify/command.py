"""`medzoo certify CKPT`: from a command line to certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medzoo.adversarial.attack.arguments import data_of, number, read_words, whole
from medzoo.core.cli.streams import say, show

HELP = """usage: medzoo certify CKPT [--sigma S] [--data NAME --data.root DIR ...] [options]

Certifies the answers of a classifier that is smoothed by Gaussian noise (Cohen 2019): for each test image a radius
within which no change moves the class, or an abstention. Writes certificates.csv (a row an image), certified.csv
(share that is right and certified, by radius), results.json and a curve. A classifier that was not trained with the
noise has short radii; robust-classifier with --model.rule smoothing is.
  --sigma S         standard deviation of the noise in image units (default: 0.1)
  --first N         noisy copies that choose the class (default: 100)
  --draws N         noisy copies that count it (default: 1000)
  --alpha P         probability that a certificate is wrong, for each image (default: 0.001)
  --batches N       test batches to certify (default: all)
  --seed N          of the noise (default: 0)
  --run_dir DIR     folder of the report (default: runs/certify/DATA/N)
"""
_VALUED = ("--sigma", "--first", "--draws", "--alpha", "--batches", "--seed", "--run_dir", "--data")
_STEPS = 20


def run(args: list[str]) -> None:
    """Certify and print what came of it.

    Raises:
        ConfigError: The arguments are wrong, or the model is no classifier.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    path, values, _, options = read_words("certify", args, _VALUED)
    _certify(path, values, options)


def _certify(path: str, values: dict[str, str], options: list[str]) -> None:
    from medzoo.adversarial.attack.looking import looked_at
    from medzoo.adversarial.certify.callback import Certifying
    from medzoo.adversarial.certify.certificate import Smoothing
    from medzoo.core.cli.run import _quiet_libraries
    from medzoo.core.io import write_csv, write_json
    from medzoo.core.plots import save
    from medzoo.core.runs.folder import discard, given_run_folder, new_run_folder
    from medzoo.core.runs.results import versions
    from medzoo.core.runs.runner import check_data, flat_metrics
    from medzoo.core.zoo import load_checkpoint

    smoothing = Smoothing(
        number("--sigma", values.get("--sigma", "0.1")), whole("--first", values.get("--first", "100")),
        whole("--draws", values.get("--draws", "1000")),
        number("--alpha", values.get("--alpha", "0.001")),
    )  # fmt: skip
    seed, batches = whole("--seed", values.get("--seed", "0"), 0), values.get("--batches")
    _quiet_libraries()
    model = load_checkpoint(path)
    data_name, datamodule = data_of("certify", path, values.get("--data"), options)
    check_data(datamodule, "test")
    given = values.get("--run_dir")
    folder = given_run_folder(Path(given), False) if given else new_run_folder("certify", data_name)
    certifying = Certifying(smoothing, seed)
    try:
        most = whole("--batches", batches) if batches else None
        trainer = looked_at(model, datamodule, certifying, folder, most, False)
    except BaseException:
        discard(folder, numbered=given is None)
        raise
    table, figures = summary(certifying.rows, smoothing.sigma)
    write_csv(folder / "certificates.csv", certifying.rows)
    write_csv(folder / "certified.csv", table)
    save(_curve(table), folder / "figures" / "certified.png")
    about = {"schema": 1, "checkpoint": path, "data": data_name, "seed": seed, "versions": versions()}
    settings = {"sigma": smoothing.sigma, "first": smoothing.first, "draws": smoothing.draws, "alpha": smoothing.alpha}
    write_json(folder / "results.json", {**about, **settings, "smoothed": figures, "as_it_is": flat_metrics(trainer)})
    for name, value in figures.items():
        say(f"{name}: {value:.4g}")
    say(f"run folder: {folder}")


def summary(rows: list[dict[str, Any]], sigma: float) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return certified accuracy by radius with intervals over patients, and the main figures.

    Certified accuracy at a radius is the share of images that are called their class with at least that radius.

    Args:
        rows: Those of `certificates.csv`.
        sigma: Of the noise; radii go up to 4 of them.
    """
    import numpy as np
    import torch

    from medzoo.core.metrics.segmentation import group_interval

    radius = np.array([row["radius"] for row in rows])
    right = np.array([row["correct"] for row in rows], dtype=bool)
    _, patient = np.unique([row["patient"] or row["id"] for row in rows], return_inverse=True)
    table = []
    for at in np.linspace(0, 4 * sigma, _STEPS + 1):
        certain = right & (radius >= at)
        low, high = group_interval(torch.from_numpy(certain).double(), torch.from_numpy(patient))
        table.append({"radius": float(at), "certified": float(certain.mean()), "low": low, "high": high})
    figures = {
        "accuracy": float(right.mean()),
        "abstentions": float(np.mean([row["called"] == "abstains" for row in rows])),
        "radius_median": float(np.median(radius[right])) if right.any() else 0.0,
        "radius_average": float(np.where(right, radius, 0).mean()),
    }
    return table, figures


def _curve(table: list[dict[str, float]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    axis = figure.subplots()
    at = [row["radius"] for row in table]
    axis.plot(at, [row["certified"] for row in table])
    axis.fill_between(at, [row["low"] for row in table], [row["high"] for row in table], alpha=0.2)
    axis.set(xlabel="L2 radius, image units", ylabel="right and certified", ylim=(-0.05, 1.05))
    return figure
