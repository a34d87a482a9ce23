"""The contract of a data module: what its batches, its options and its check of the files can be relied upon to do."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, cast

import docstring_parser
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from medzoo.core.cli import main
from medzoo.core.data.module import MedzooDataModule
from medzoo.core.data.wants import Wants
from medzoo.core.errors import DataError, MedzooError
from medzoo.core.method import Method
from medzoo.core.registry import find, load
from medzoo.core.runs.runner import has_batches
from medzoo.core.sample import Batch, misfit, required

STAGES = {
    "fit": ("train_dataloader", "val_dataloader"),
    "validate": ("val_dataloader",),
    "test": ("test_dataloader",),
    "predict": ("predict_dataloader",),
}
"""The loaders that each stage takes."""


class Asking(Method):
    """A method that only asks for something.

    Args:
        asked: What it asks of its data.
    """

    def __init__(self, asked: Wants) -> None:
        super().__init__()
        self.asked = asked

    def wants(self) -> Wants:
        """Return what it was made to ask for."""
        return self.asked


def attach(data: MedzooDataModule, asked: Wants) -> None:
    """Attach a trainer to a data module, and to this a method that asks for something, as a run does.

    Args:
        data: The data module.
        asked: What the method asks of its data.
    """
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(Asking(asked))
    data.trainer = trainer


def text(value: object) -> str:
    """Return a value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def same_batches(first: Batch, second: Batch) -> bool:
    """Return whether two batches are equal to the bit."""
    return list(first) == list(second) and all(_same(first[key], second[key]) for key in first)


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


class DataModuleContract:
    """Tests that a data module inherits; no model is built.

    Example:
        class TestChest(DataModuleContract):
            name = "chest"
            damaged = "pngs/p001.png"

            @pytest.fixture
            def options(self, chest):
                return {"root": str(chest(6))}
    """

    name: ClassVar[str]
    """Name of the data module on the command line."""
    tiny: ClassVar[dict[str, object]] = {}
    """Options of a few small samples; data in a folder override the fixture `options` instead."""
    asked: ClassVar[Wants] = Wants(size=(16, 16), batch_size=2)
    """What the model asks for."""
    hidden: ClassVar[tuple[str, ...]] = ()
    """Keys that no training batch has, such as the labels that a one-shot method must not see."""
    damaged: ClassVar[str] = ""
    """File below the option `root` which, filled with noise, a check must name; empty for data without files."""

    @pytest.fixture
    def options(self) -> dict[str, object]:
        """Options of a few small samples."""
        return dict(self.tiny)

    @pytest.fixture(autouse=True)
    def _in_a_folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def build(self, options: dict[str, object], stage: str = "", **more: object) -> MedzooDataModule:
        """Build the data module with a trainer attached, set up for a stage where one is given."""
        data = cast(MedzooDataModule, load(find("datamodule", self.name))(**{**options, **more}))
        attach(data, self.asked)
        if stage:
            data.setup(stage)
        return data

    def loaded(self, data: MedzooDataModule, stage: str) -> Iterator[tuple[str, int, list[Batch]]]:
        """Yield the batches of each loader of a stage, of two epochs of training; nothing for a missing loader."""
        for loader_name in STAGES[stage]:
            if not has_batches(data, loader_name):
                continue
            loader = getattr(data, loader_name)()
            for epoch in (0, 1) if loader_name == "train_dataloader" else (0,):
                if loader_name == "train_dataloader":
                    loader.batch_sampler.set_epoch(epoch)
                yield loader_name, epoch, list(loader)

    def arguments(self, verb: str, options: dict[str, object], *more: str) -> list[str]:
        """Return the command line of a verb on these data."""
        flags = [part for key, value in options.items() for part in (f"--data.{key}", text(value))]
        return [verb, "--data", self.name, *flags, *more]

    def test_its_name_resolves_and_its_samples_have_a_type(self) -> None:
        """The registry finds a MedzooDataModule with a summary, whose samples are a kind of `Sample`."""
        spec = find("datamodule", self.name)
        kind = load(spec)
        assert issubclass(kind, MedzooDataModule)
        assert spec.summary, f"no card says what {self.name} is"
        assert len(spec.summary) <= 120, "the summary is one line of a list"
        for sample in (kind.sample, kind.train_sample or kind.sample):
            assert {"id", "path"} <= required(sample), f"{sample.__name__} does not extend Sample"

    def test_every_option_has_a_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`medzoo check --data NAME --help` shows each `__init__` argument with what a docstring says."""
        kind = load(find("datamodule", self.name))
        docs = [f"{inspect.getdoc(base)}\n\n{inspect.getdoc(base.__init__)}" for base in kind.__mro__]
        texts = {p.arg_name for doc in docs for p in docstring_parser.parse(doc).params if p.description}
        assert main(["check", "--data", self.name, "--help"]) == 0
        shown = set(re.findall(r"--data\.(\w+)", capsys.readouterr().out))
        own = {n for n, p in inspect.signature(kind).parameters.items() if p.kind is not p.VAR_KEYWORD}
        assert own <= shown
        assert not shown - texts

    @pytest.mark.parametrize("stage", STAGES)
    def test_every_batch_fits_the_type_of_its_samples(self, options: dict[str, object], stage: str) -> None:
        """Keys and kinds of values are those of the TypedDict; nobody's labels leak into training."""
        data = self.build(options, stage)
        seen = 0
        for name, _, batches in self.loaded(data, stage):
            training = name == "train_dataloader"
            kind = data.train_sample or data.sample if training else data.sample
            for batch in batches:
                seen += 1
                assert misfit(batch, kind) is None, f"{name}: {misfit(batch, kind)}"
                assert len(set(map(str, batch.get("source", ())))) <= 1, f"{name}: a batch of two sources"
                if training:
                    assert not set(self.hidden) & set(batch), f"a training batch has {set(self.hidden) & set(batch)}"
        assert seen or stage == "validate", f"no loader of {stage} has a batch"

    @pytest.mark.parametrize("stage", ["validate", "test", "predict"])
    def test_every_sample_comes_once_with_a_name_of_its_own(self, options: dict[str, object], stage: str) -> None:
        """Names are unique in a source, whatever the size of batches."""
        found = []
        for size in (1, 3):
            data = self.build(options, stage, batch_size=size)
            batches = [batch for _, _, batches in self.loaded(data, stage) for batch in batches]
            own = [(source, name) for b in batches for source, name in zip(_sources(b), b["id"], strict=True)]
            assert len(set(own)) == len(own)
            found.append(sorted(own))
        assert found[0] == found[1]

    @pytest.mark.parametrize("stage", ["fit", "test"])
    def test_the_same_seed_gives_the_same_batches_for_any_number_of_workers(
        self, options: dict[str, object], stage: str
    ) -> None:
        """Two data modules with no and with two loader processes give the same bits, in every epoch."""
        runs = [list(self.loaded(self.build(options, stage, num_workers=n), stage)) for n in (0, 2)]
        assert [(name, epoch, len(batches)) for name, epoch, batches in runs[0]] == [
            (name, epoch, len(batches)) for name, epoch, batches in runs[1]
        ]
        for (name, epoch, first), (_, _, second) in zip(*runs, strict=True):
            assert all(map(same_batches, first, second)), f"{name} of epoch {epoch} depends on the loader processes"

    def test_sound_data_have_no_fault_and_a_summary(
        self, options: dict[str, object], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`check` finds nothing for any stage, and `medzoo check` says so."""
        data = self.build(options)
        for stage in (None, *STAGES):
            assert data.check(stage) == [], stage
        assert all(isinstance(line, str) and "\n" not in line for line in data.summary())
        assert main(self.arguments("check", options)) == 0
        assert "no fault found" in capsys.readouterr().out

    def test_a_damaged_file_is_named_before_anything_is_trained(
        self, options: dict[str, object], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`check` returns it as a DataError, a set-up raises it, and `medzoo check` ends with 2 and one line of it."""
        if not self.damaged:
            pytest.skip(f"{self.name} reads no file")
        path = Path(str(options["root"]), self.damaged)
        assert path.is_file()
        path.write_bytes(b"\x89 nothing that a reader knows")
        found = self.build(options).check()
        assert found
        assert all(isinstance(fault, DataError) and "\n" not in str(fault) for fault in found)
        assert any(path.name in str(fault) for fault in found), found
        refusals = [self._refusal(options, stage) for stage in ("fit", "test")]
        assert any(path.name in line for line in refusals), refusals
        assert main(self.arguments("check", options)) == 2
        assert capsys.readouterr().err.strip().count("\n") == 0

    def _refusal(self, options: dict[str, object], stage: str) -> str:
        try:
            self.build(options, stage)
        except MedzooError as error:
            return str(error)
        return ""

    @pytest.mark.parametrize(
        ("option", "value"), [("no_such_option", "1"), ("num_workers", "-1"), ("batch_size", "0"), ("seed", "-1")]
    )
    def test_a_wrong_option_costs_one_line(
        self, options: dict[str, object], capsys: pytest.CaptureFixture[str], option: str, value: str
    ) -> None:
        """Exit code 2 and one line that names the option."""
        assert main(self.arguments("check", options, f"--data.{option}", value)) == 2
        err = capsys.readouterr().err.strip()
        assert err.count("\n") == 0, err
        assert f"data.{option}" in err


def _sources(batch: Batch) -> list[str]:
    return batch["source"] if "source" in batch else [""] * len(batch["id"])
