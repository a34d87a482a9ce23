"""`medzoo attack CKPT`: from a command line to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medzoo.adversarial.attack.arguments import data_of, number, read_words, whole
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from medzoo.adversarial.attack.report import Attempt
    from medzoo.adversarial.engine import Attack, Loss

    Planned = tuple[dict[str, Any], Callable[[Loss], Attack]]

HELP = """usage: medzoo attack CKPT [--attack NAME] [--eps LIST] [--data NAME --data.root DIR ...] [options]

Tests a model on its test images as they are, and after small changes that are made to mislead it. Writes attack.csv
(share of images that come out wrong, and figures, by budget), samples.csv (a row an image and budget), results.json,
curves and examples. The data are those of the checkpoint unless --data names others. For judging one's own models.
  --attack NAME     fgsm, bim, pgd (default), mim, dim, tim, cw-linf, apgd, square, or noise of the same size;
                    ensemble: apgd on two losses, then square, on what withstood; autoattack: the standard one, for
                    four classes or more, where its extra is installed;
                    corruptions: noise, blur, contrast, … that happen without an attacker, by severity
  --twin CKPT       the attack looks at this other model of the same task, and is judged on CKPT (transfer)
  --eps LIST        budgets in image units, such as 1/255,4/255 (default: 0.5/255,1/255,2/255,4/255)
  --norm NAME       linf (default) or l2
  --severities LIST of corruptions (default: 1,2,3,4,5)
  --steps N         gradient steps, of those attacks that have them
  --tolerance PX    distance up to which a landmark counts as found, in pixels of the network's image (default: 5)
  --bounds LOW,HIGH values that an image can have (default: 0,1; for CT such as -1000,400)
  --batches N       test batches to attack (default: all)
  --keep_images     write the attacked images, as NumPy files
  --seed N          of all that is random (default: 0)
  --run_dir DIR     folder of the report (default: runs/attack-NAME/DATA/N)
"""
_VALUED = (
    "--attack", "--eps", "--norm", "--steps", "--tolerance", "--bounds", "--batches", "--seed", "--run_dir", "--data",
    "--twin", "--severities",
)  # fmt: skip
_NAMES = ("fgsm", "bim", "pgd", "mim", "dim", "tim", "cw-linf", "apgd", "square", "noise", "ensemble", "autoattack",
    "corruptions",
)  # fmt: skip


def run(args: list[str]) -> None:
    """Attack and print what came of it.

    Raises:
        ConfigError: The arguments are wrong, or the model cannot be attacked.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    path, values, switches, options = read_words("attack", args, _VALUED, ("--keep_images",))
    check_choice("attack", values.get("--attack", "pgd"), _NAMES)
    _attack(path, values, options, "--keep_images" in switches)


def _attack(path: str, values: dict[str, str], options: list[str], keep: bool) -> None:
    from medzoo.adversarial.attack.callback import UnderAttack
    from medzoo.adversarial.attack.looking import looked_at
    from medzoo.adversarial.attack.report import Attempt, main_metric, mean_of_corruptions, write_report
    from medzoo.core.cli.run import _quiet_libraries
    from medzoo.core.io import write_json
    from medzoo.core.method import Method
    from medzoo.core.runs.folder import discard, given_run_folder, new_run_folder
    from medzoo.core.runs.results import versions
    from medzoo.core.runs.runner import check_data, flat_metrics
    from medzoo.core.zoo import load_checkpoint

    name = values.get("--attack", "pgd")
    first, *rest = _plan(name, values)
    bounds = [number("--bounds", text) for text in values.get("--bounds", "0,1").split(",")]
    if len(bounds) != 2:
        raise ConfigError(f"--bounds: expected LOW,HIGH, got {values['--bounds']}")
    tolerance = number("--tolerance", values.get("--tolerance", "5"))
    if not 0 < tolerance < float("inf"):
        raise ConfigError(f"--tolerance: expected pixels above 0, got {values['--tolerance']}")
    seed, batches = whole("--seed", values.get("--seed", "0"), 0), values.get("--batches")
    _quiet_libraries()
    model = load_checkpoint(path)
    twin = load_checkpoint(values["--twin"]) if "--twin" in values else None
    if twin is not None and not isinstance(twin, Method):
        raise ConfigError(f"--twin: {type(twin).__name__} has no outputs(batch) to attack; it is no medzoo Method")
    data_name, datamodule = data_of("attack", path, values.get("--data"), options)
    check_data(datamodule, "test")
    given = values.get("--run_dir")
    folder = given_run_folder(Path(given), False) if given else new_run_folder(f"attack-{name}", data_name)
    attempts: list[Attempt] = []
    try:
        for label, make in _all(first, rest, attempts):
            attack = UnderAttack(
                make,
                (bounds[0], bounds[1]),
                tolerance,
                seed,
                folder / "images" / "-".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in label.values())
                if keep
                else None,
                twin,
            )
            trainer = looked_at(
                model, datamodule, attack, folder, whole("--batches", batches) if batches else None, True
            )
            attempts.append(Attempt(label, flat_metrics(trainer), attack.rows, attack.examples))
            _print(attempts[-1].figures(), main_metric(list(attempts[0].metrics)))
    except BaseException:
        discard(folder, numbered=given is None)
        raise
    write_report(attempts, folder)
    about = {"schema": 1, "checkpoint": path, "data": data_name, "attack": name, "seed": seed, "versions": versions()}
    about |= {"twin": values["--twin"]} if twin is not None else {}
    write_json(folder / "results.json", {**about, "budgets": [attempt.figures() for attempt in attempts]})
    if name == "corruptions":
        *_, every = mean_of_corruptions(attempts)
        say(f"mean of all corruptions: wrong {every['success']:.3f}")
    say(f"run folder: {folder}")


def _plan(name: str, values: dict[str, str]) -> list[Planned]:
    """Return label and maker of each test, that of clean images first."""
    from medzoo.adversarial.engine import CORRUPTIONS, Corruption, Noise
    from medzoo.adversarial.engine.corruptions import SEVERITIES

    if name != "corruptions":
        if "--severities" in values:
            raise ConfigError("--severities: they are of --attack corruptions; an attack has --eps")
        budgets = [number("--eps", text) for text in values.get("--eps", "0.5/255,1/255,2/255,4/255").split(",")]
        if any(eps <= 0 for eps in budgets):
            raise ConfigError(f"--eps: expected budgets above 0, got {values['--eps']}")
        return [({"eps": eps}, _maker(name, eps, values)) for eps in (0.0, *sorted(budgets))]
    odd = next((flag for flag in ("--eps", "--norm", "--steps", "--twin") if flag in values), None)
    if odd:
        raise ConfigError(f"{odd}: a corruption has none; take --severities")
    chosen = [number("--severities", text) for text in values.get("--severities", "1,2,3,4,5").split(",")]
    if not set(chosen) <= set(SEVERITIES):
        raise ConfigError(f"--severities: expected some of 1 to 5, got {values['--severities']}")

    def of(kind: str, severity: int) -> Planned:
        return {"corruption": kind, "severity": severity}, lambda loss: Corruption(
            kind=kind, severity=severity, loss=loss
        )

    clean: Planned = {"corruption": "none", "severity": 0}, lambda loss: Noise(eps=0.0, loss=loss)
    return [clean, *(of(kind, int(severity)) for kind in CORRUPTIONS for severity in sorted(set(chosen)))]


def _all(first: Planned, rest: list[Planned], attempts: list[Attempt]) -> Iterator[Planned]:
    """Yield all that is planned but, once clean images were seen, corruptions that are none of such images."""
    from medzoo.adversarial.engine.corruptions import fits

    yield first
    for label, make in rest:
        examples = attempts[0].examples
        if "corruption" not in label or not examples or fits(label["corruption"], examples[0].clean):
            yield label, make


def _maker(name: str, eps: float, values: dict[str, str]) -> Callable[[Loss], Attack]:
    from medzoo.adversarial.engine import ATTACKS, AutoAttack, Ensemble, Noise

    settings: dict[str, Any] = {"eps": eps, "norm": values.get("--norm", "linf")}
    if "--steps" in values:
        settings["steps"] = whole("--steps", values["--steps"])

    kinds: dict[str, type[Attack]] = {**ATTACKS, "noise": Noise, "ensemble": Ensemble, "autoattack": AutoAttack}

    def make(loss: Loss) -> Attack:
        try:
            return kinds[name](**settings, loss=loss)
        except TypeError as error:
            raise ConfigError(f"--attack {name} takes no --steps") from error

    return make


def _print(figures: dict[str, Any], metric: str | None) -> None:
    wrong = f"{figures['success']:.3f} ({figures['success_low']:.3f} to {figures['success_high']:.3f})"
    what = f"eps {figures['eps']:.5g}" if figures.get("eps") else "clean images"
    if figures.get("severity"):
        what = f"{figures['corruption']} {figures['severity']}"
    say(f"{what}: wrong {wrong}" + (f", {metric} {figures[metric]:.4g}" if metric in figures else ""))
