"""The contract of a method: what every model of the zoo, ours or a plug-in's, can be relied upon to do."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
import signal
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import ClassVar

import docstring_parser
import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.method import Method
from medzoo.core.registry import Spec, find, load
from medzoo.core.runs.callbacks import BEST, LAST
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.schema import settings_of
from medzoo.core.testing.data import text
from medzoo.core.testing.processes import Command, pair
from medzoo.core.testing.replay import GRADIENTS, differences, killed_at, snapshots, watching
from medzoo.core.testing.watch import TESTED, watching_a_test

_NEXT_TO_A_FIT = {"config.yaml", "environment.json", "metrics.csv", "results.json", "checkpoints"}


class ModelContract:
    """Tests that a method inherits; all go through the real command line.

    Example:
        class TestUOD(ModelContract):
            name = "uod"
            tiny = {"model.widths": [4, 8], "data.size": 32}
    """

    name: ClassVar[str]
    """Name of the model on the command line."""
    tiny: ClassVar[dict[str, object]] = {}
    """Options, without the leading dashes, with which a fit of two epochs takes a second."""
    resumes: ClassVar[int | None] = 4
    """Steps of each stage to resume from, spread evenly with the first and last; `None` is every step."""
    no_gradient: ClassVar[tuple[str, ...]] = ()
    """Patterns of trainable parameters that a tiny fit need not reach, such as `"head.unused.*"`."""
    differentiates_to: ClassVar[str] = "image"
    """Key of a batch to which the outputs of a trainable method have gradients."""
    one_process: ClassVar[bool] = False
    """The method trains nothing and refuses to be fitted on several devices."""
    card_keys: ClassVar[tuple[str, ...]] = ("name", "task", "summary", "data")
    """Facts that the card's front matter must give."""

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> Spec:
        """The model's entry in the registry."""
        return find("model", cls.name)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder for this class's runs."""
        return tmp_path_factory.mktemp("contract")

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, folder: Path) -> Iterator[Path]:
        """The tiny fit that most tests look at, with a snapshot after each step."""
        (folder / "watch.yaml").write_text(yaml.safe_dump(watching()))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main([*cls.arguments("fit"), "--config", "watch.yaml", "--run_dir", "run"]) == 0
        yield folder / "run"
        shutil.rmtree(folder / "run")  # snapshots of large networks add up

    @pytest.fixture(scope="class")
    @classmethod
    def tested(cls, run: Path, folder: Path) -> Path:
        """A test of the tiny fit's last checkpoint, which notes what it saw."""
        (folder / "watch_test.yaml").write_text(yaml.safe_dump(watching_a_test(cls.differentiates_to)))
        options = ["--trainer.accelerator", "cpu", "--config", "watch_test.yaml", "--run_dir", "test", "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main(["test", "--ckpt_path", str(run / "checkpoints" / LAST), *options]) == 0
        return folder / "test"

    @pytest.fixture(autouse=True)
    def _in_the_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)

    @classmethod
    def arguments(cls, verb: str, *more: str) -> list[str]:
        """Return the command line of a tiny run."""
        options = {"trainer.max_epochs": 2, "trainer.accelerator": "cpu", **cls.tiny}
        flags = [part for key, value in options.items() for part in (f"--{key}", text(value))]
        return [verb, "--model", cls.name, "--quiet", *flags, *more]

    def stages(self, run: Path) -> list[Path]:
        """Return the folders of a run's stages; of a method with one, the run itself."""
        return [*sorted(p.parent for p in run.glob("*/results.json")), run]

    def test_its_name_resolves_and_its_card_is_complete(self, spec: Spec) -> None:
        """The registry finds the class, and its card says what it is for and what data it starts with."""
        load(spec)
        missing = [key for key in self.card_keys if not spec.card.get(key)]
        assert not missing, f"card.md of {self.name} lacks {', '.join(missing)}"
        assert "\n" not in spec.summary
        assert len(spec.summary) <= 120, "the summary is one line of a list"
        find("datamodule", str(spec.card["data"]))

    def test_every_argument_has_a_text(self, spec: Spec, capsys: pytest.CaptureFixture[str]) -> None:
        """`--help` shows each `__init__` argument with what its docstring says."""
        cls = load(spec)
        parsed = docstring_parser.parse(f"{inspect.getdoc(cls)}\n\n{inspect.getdoc(cls.__init__)}")
        texts = {p.arg_name for p in parsed.params if p.description}
        for base in cls.__mro__[1:]:
            texts |= {p.arg_name for p in docstring_parser.parse(inspect.getdoc(base) or "").params if p.description}
        arguments = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
        assert not [name for name in arguments if name not in texts]
        assert main(["fit", "--model", self.name, "--help"]) == 0
        page = capsys.readouterr().out
        assert not [name for name in arguments if f"--model.{name}" not in page]

    def test_a_dry_run_goes_through_and_leaves_nothing(self, folder: Path) -> None:
        """`--trainer.fast_dev_run true` sees one batch of everything."""
        before = set(folder.iterdir())
        assert main(self.arguments("fit", "--trainer.fast_dev_run", "true")) == 0
        assert set(folder.iterdir()) == before

    def test_a_fit_leaves_the_documented_run_folder(self, run: Path) -> None:
        """Configuration, environment, table, checkpoints and results, of every stage."""
        for stage in self.stages(run):
            names = {p.name for p in stage.iterdir()}
            wanted = _NEXT_TO_A_FIT if stage == run else _NEXT_TO_A_FIT - {"config.yaml", "environment.json"}
            assert wanted <= names, f"{stage.name} lacks {wanted - names}"
            assert {p.name for p in (stage / "checkpoints").iterdir()} == {LAST, BEST}
            results = json.loads((stage / "results.json").read_text())
            assert results["status"] == "ok"
            assert results["model"] == self.name
            assert results["samples_per_second"] > 0
            assert all(isinstance(v, float | int) for v in results["metrics"].values()), "a metric is not finite"
            assert not list(stage.rglob("*.part"))
        assert json.loads((run / "results.json").read_text())["metrics"], "nothing was measured by the test"

    def test_its_checkpoints_are_data_and_tell_their_class(self, run: Path, spec: Spec) -> None:
        """`weights_only=True` reads them; settings are JSON-like."""
        for stage in self.stages(run):
            for name in (LAST, BEST):
                checkpoint = read_checkpoint(stage / "checkpoints" / name)
                settings = settings_of(checkpoint, "hyper_parameters")
                assert settings["_class_path"] == spec.class_path
                json.dumps({k: v for k, v in settings.items() if not k.startswith("_")})

    def test_a_checkpoint_alone_gives_the_results_of_the_fit(self, run: Path, tested: Path) -> None:
        """`medzoo test --ckpt_path` needs no option of model or data and finds what the fit has found."""
        found = json.loads((tested / "results.json").read_text())["metrics"]
        fitted = json.loads((run / "results.json").read_text())["metrics"]
        assert found == {name: fitted[name] for name in found}

    def test_a_test_leaves_a_row_for_each_sample(self, run: Path, tested: Path, spec: Spec) -> None:
        """`samples.csv` of the fit and of the test has the samples that were tested, each once, with its answer."""
        if getattr(load(spec), "new_evaluation", None) in (None, Method.new_evaluation):
            pytest.skip(f"{self.name} has test steps of its own")
        seen = json.loads((tested / TESTED).read_text())["seen"]
        assert seen, "nothing was tested"
        for folder in (run, tested):
            with (folder / "samples.csv").open(encoding="utf8") as file:
                rows = list(csv.DictReader(file))
            assert {"id", "source", "patient", "path", "prediction", "error"} <= set(rows[0])
            names = [(row["source"], row["id"]) for row in rows]
            assert len(set(names)) == len(names), "a sample has two rows"
            assert sorted(names) == sorted(map(tuple, seen))

    def test_outputs_differentiate_to_what_the_network_sees(self, tested: Path, spec: Spec) -> None:
        """In evaluation mode a tensor of `outputs(batch)` has a finite gradient to the image that is not zero."""
        model = load(spec)
        if not getattr(model, "trainable", False):
            pytest.skip(f"{self.name} is not trained by gradients")
        if model.outputs is Method.outputs:
            pytest.skip(f"{self.name} has test steps of its own")
        found = json.loads((tested / TESTED).read_text())["gradients"]
        assert "finite" in found.values(), found
        assert "not finite" not in found.values(), found

    def test_it_predicts_a_record_for_each_image(self, run: Path, spec: Spec) -> None:
        """`predictions.json` has a version, its model and checkpoint, and records with an `id`."""
        model = load(spec)
        own = [getattr(model, name, None) is not getattr(Method, name) for name in ("predict_step", "predictions")]
        if not any(own):
            pytest.skip(f"{self.name} predicts nothing")
        last = str(run / "checkpoints" / LAST)
        options = ["--trainer.accelerator", "cpu", "--run_dir", "predict", "--quiet"]
        assert main(["predict", "--ckpt_path", last, *options]) == 0
        written = json.loads(Path("predict/predictions.json").read_text())
        assert (written["schema"], written["model"]) == (1, self.name)
        assert Path(written["checkpoint"]).is_file()
        records = written["predictions"]
        assert records
        assert all(record.get("id") is not None for record in records)
        assert len(records) == len({(record.get("domain"), record["id"]) for record in records})

    def test_resumed_from_any_step_it_ends_with_the_same_bits(self, run: Path, folder: Path) -> None:
        """Weights, optimiser states, tables and results of all stages equal those of the run that went through."""
        assert snapshots(run), "the tiny fit made no step"
        for snapshot in _spread(snapshots(run), self.resumes):
            target = killed_at(run, snapshot, folder / "killed")
            assert main(["fit", "--resume", "--run_dir", str(target), "--quiet"]) == 0
            found = differences(run, target)
            shutil.rmtree(target)
            assert not found, f"resumed from {snapshot.relative_to(run)}: {found[:5]}"

    def test_the_same_seed_gives_the_same_bits_for_any_number_of_workers(
        self, run: Path, folder: Path, spec: Spec
    ) -> None:
        """A second run, with loader processes where the data module has them, equals the first."""
        config = yaml.safe_load((run / "config.yaml").read_text())
        has_workers = "num_workers" in config["data"].get("init_args", {})
        more = ["--data.num_workers", "2"] if has_workers else []
        assert main([*self.arguments("fit"), *more, "--run_dir", "again"]) == 0
        found = differences(run, folder / "again")
        shutil.rmtree(folder / "again")
        assert not found, found[:5]

    def test_two_processes_train_and_answer_as_one(self, folder: Path) -> None:
        """A fit with `--trainer.strategy ddp` goes through, and one process measures what the two have measured."""
        two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
        both = pair(partial(Command, folder=folder), self.arguments("fit", *two, "--run_dir", "two"))
        try:
            codes = [process.wait() for process in both]
        finally:
            for process in both:
                process.kill(signal.SIGKILL)
        assert codes == ([2, 2] if self.one_process else [0, 0]), both[0].output()
        if self.one_process:
            return
        one = ["--trainer.devices", "1", "--trainer.strategy", "auto", "--trainer.accelerator", "cpu"]
        last = str(folder / "two/checkpoints" / LAST)
        assert main(["test", "--ckpt_path", last, *one, "--run_dir", "one", "--quiet"]) == 0
        wanted, found = (json.loads(Path(run, "results.json").read_text())["metrics"] for run in ("one", "two"))
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-6, abs=1e-6)

    def test_gradients_reach_what_is_trained_and_nothing_else(self, run: Path) -> None:
        """Every trainable parameter has a gradient and an optimiser, no frozen one has a gradient."""
        for stage in self.stages(run):
            if not (stage / GRADIENTS).is_file():  # a stage that trains nothing
                continue
            report = json.loads((stage / GRADIENTS).read_text())
            for fault in ("unreached", "unheld"):
                named = [n for n in report[fault] if not any(fnmatch(n, pattern) for pattern in self.no_gradient)]
                assert not named, f"{stage.name}: {fault}: {named}"
            assert not report["frozen_reached"], f"{stage.name}: {report['frozen_reached']}"

    def test_the_printed_configuration_comes_back_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--print_config` writes what `--config` reads."""
        assert main(self.arguments("fit", "--print_config")) == 0
        first = capsys.readouterr().out
        Path("printed.yaml").write_text(first)
        assert main(["fit", "--config", "printed.yaml", "--print_config"]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(first)

    @pytest.mark.parametrize("option", ["--model.no_such_option", "--data.no_such_option", "--trainer.no_such_option"])
    def test_an_unknown_option_costs_one_line(self, capsys: pytest.CaptureFixture[str], option: str) -> None:
        """Exit code 2 and one line that names the option."""
        assert main(self.arguments("fit", option, "1", "--run_dir", "wrong")) == 2
        err = capsys.readouterr().err.strip()
        assert err.count("\n") == 0, err
        assert option in err
        assert not Path("wrong").exists()


def _spread(items: list[Path], number: int | None) -> list[Path]:
    """Choose `number` of the snapshots of each stage, evenly, with the first and the last."""
    chosen: list[Path] = []
    for stage in dict.fromkeys(item.parent for item in items):
        own = [item for item in items if item.parent == stage]
        count = len(own) if number is None else min(number, len(own))
        chosen += [own[round(i * (len(own) - 1) / max(1, count - 1))] for i in range(count)]
    return chosen
