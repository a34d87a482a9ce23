"""Which cells a benchmark has: a model, a data module and a seed each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medzoo.core.cli.streams import say
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.names import file_name
from medzoo.core.recipes import packaged_recipe
from medzoo.core.registry import Spec, find, registered, specs

BUDGETS: dict[str, tuple[str, ...]] = {
    "quick": (),
    "smoke": (
        *("--trainer.max_steps", "4"),
        *("--trainer.limit_val_batches", "2"),
        *("--trainer.limit_test_batches", "4"),
    ),
}
"""What each budget adds to `medzoo fit`; `quick` is the models' default recipes as they are."""


@dataclass(frozen=True)
class Cell:
    """One fit of a benchmark."""

    model: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return file_name(f"{self.model}-{self.data}-{self.seed}")

    def arguments(self, budget: str, more: Sequence[str]) -> list[str]:
        """Return what follows `medzoo fit`: names, seed, what the budget adds, and what the user adds."""
        chosen = ["--model", self.model, "--data", self.data, "--seed_everything", str(self.seed)]
        return [*chosen, *BUDGETS[budget], *more]


def cells_of(package: str | None, models: Sequence[str], data: Sequence[str], seeds: int) -> list[Cell]:
    """Return the cells, seed by seed, so that an interrupted benchmark has one of each model first.

    Args:
        package: Take the models of one package, such as `anomaly`; None for those of all.
        models: Names of models; empty for all that can be used.
        data: Names of data modules; empty for that which `medzoo fit` takes by default. A model is left out of data
            of another task than its own and that of its default data.
        seeds: Number of seeds, which are 0, 1, …

    Raises:
        ConfigError: No model is left.
        PluginError: A name is unknown.
    """
    chosen = [find("model", name) for name in models] or [s for s in specs("model") if not s.missing]
    if package is not None:
        check_choice("package", package, sorted({_short(spec) for spec in specs("model")}))
        chosen = [spec for spec in chosen if _short(spec) == package]
    pairs: list[tuple[str, str]] = []
    for model in chosen:
        usual = default_data(model)
        named = [find("datamodule", name) for name in data] or ([usual] if usual else [])
        if not named:
            raise ConfigError(f"--models {model.name}: it names no data module of its own; give one by --data NAME")
        tasks = {model.task, usual.task if usual else model.task}
        for module in named:
            if module.task in tasks:
                pairs.append((model.name, module.name))
            else:
                say(f"left out: {model.name} ({model.task}) on {module.name} ({module.task})")
    if not pairs:
        raise ConfigError("--models, --package, --data: no model is of the task of the data; see medzoo list --long")
    return [Cell(model, module, seed) for seed in range(seeds) for model, module in dict.fromkeys(pairs)]


def _short(spec: Spec) -> str:
    return spec.package.removeprefix("medzoo-")


def default_data(model: Spec) -> Spec | None:
    """Return the data module that `medzoo fit` takes for a model where none is named; None where it names none."""
    path = packaged_recipe(model).get("data", {}).get("class_path")
    return None if path is None else registered("datamodule", path)
