"""The base of the landmark methods: domains and shots from the data, one evaluator, one form of prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_network, to_original
from medzoo.core.method import Method
from medzoo.core.optim.schedules import warm_cosine
from medzoo.core.runs.callbacks import LAST
from medzoo.core.runs.schema import check_field
from medzoo.landmark.data.baseline import copy_shot_baseline, observer_errors
from medzoo.landmark.data.sources import Domain, Images
from medzoo.landmark.evaluation import LandmarkEvaluation, model_domain, records
from medzoo.landmark.outputs import write_predictions
from medzoo.landmark.pseudo import PseudoLabels
from medzoo.landmark.rehearsal import Rehearsal, rehearsals
from medzoo.landmark.shots import Domains, Shots

if TYPE_CHECKING:
    from medzoo.landmark.matching.embedder import Embedder


class LandmarkMethod(Method):
    """A Method that finds the landmarks of known domains in images.

    A subclass builds its networks in `build` and finds points in `forward`; training is its own. `domains` is an
    `__init__` argument of each, empty until the data tell them, and saved with the weights.
    """

    supervised: ClassVar[bool] = False
    """Train on batches of annotated images only, with `landmarks` and `visible`: `--data.shots` says how many.

    Otherwise training batches are all training images, without labels.
    """

    keeps_shots: ClassVar[bool] = False
    """Take the shots from the data and keep them with the weights, as part of what the model knows."""

    monitor: ClassVar[str] = "val/mre"
    """Error on the validation images, where there are any; else `best.ckpt` is the last."""

    prefixes: ClassVar[dict[str, str]] = {}
    """What the options of each stage begin with, where the stages have their own; see `setting`."""

    stage: str = ""
    """The stage that is trained or used, for a method with several."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        """Names of the domains."""
        self.shots: list[Shots] = []
        """Of each domain, where the method keeps them."""
        self.rehearsals: dict[int, Rehearsal] = {}
        """By index of the domain, for those that the training rehearses; see `rehearse`."""
        self.evaluation: LandmarkEvaluation | None = None

    @abstractmethod
    def build(self, domains: Domains) -> None:
        """Make the networks, once the domains are known."""

    @abstractmethod
    def forward(self, image: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Find the landmarks of a domain.

        Args:
            image: `(B, 1, H, W)` in [0, 1].
            domain: Index of the domain in `names`.

        Returns:
            Points `(B, K, 2)` (x, y) in pixels of `image` and scores `(B, K)`, higher where the method is surer.
        """

    @property
    def embedder(self) -> Embedder | None:
        """The network that embeds pixels for matching, where this stage of the method has one; see `medzoo select`."""
        return None

    def setting(self, name: str) -> Any:
        """Return an `__init__` argument, that of the current stage (`match_lr` for `lr`) where it has its own."""
        own = self.prefixes.get(self.stage, "") + name
        return self.hparams[own if own in self.hparams else name]

    # Methods call these settings `size`, `batch`, `epochs` and `steps`, with the prefix of the stage if need be.

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        size = self.setting("size")
        height, width = (size, size) if isinstance(size, int) else size
        return int(height), int(width)

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return int(self.setting("batch"))

    @property
    def max_epochs(self) -> int | None:
        """Epochs of the training, or of this stage."""
        epochs: int | None = self.setting("epochs")
        return epochs

    @property
    def max_steps(self) -> int | None:
        """Steps of the training, or of this stage, where they are given."""
        steps: int | None = self.setting("steps")
        return steps

    def know(self, domains: Domains | None) -> None:
        """Build the networks for these domains; do nothing while there are none."""
        if domains:
            self.hparams["domains"] = {name: list(landmarks) for name, landmarks in domains.items()}
            self.names = list(domains)
            self.build(self.hparams["domains"])

    def configure_model(self) -> None:
        """Take the domains from the data where no checkpoint told them."""
        if not self.names:
            for domain in self.data.domains:
                if self.supervised and not domain.landmarks:
                    raise ConfigError(f"the data have no label of {domain.name}, and this model trains on labels alone")
            self.know({d.name: list(d.landmarks) for d in self.data.domains})

    @property
    def data(self) -> Any:
        """The landmark data module of the attached trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Build the networks, which Lightning would do after this, and take the shots from the data to train on."""
        if self.data is not None and not hasattr(self.data, "domains"):
            kind = type(self.data).__name__
            raise ConfigError(f"--data: {kind} has no landmarks; choose a landmark data module of medzoo list")
        if stage == "fit":
            self.configure_model()
            self._check_order()
            if self.supervised:
                self.rehearse()
        if stage != "fit" or not self.keeps_shots:
            return
        self.shots = []
        groups = self.data.shots()
        if not any(groups):  # a matcher that is trained before anything is annotated
            return
        for domain, samples in zip(self.data.domains, groups, strict=True):
            if not samples:
                raise ConfigError(f"domain {domain.name} has no shot, and {type(self).__name__} needs one of each")
            image = torch.stack([s["image"] for s in samples])
            points = torch.stack([to_network(s["landmarks"][None], s["affine"][None])[0] for s in samples])
            self.shots.append({"image": image, "points": points})

    def _check_order(self) -> None:
        """Refuse to train on with data whose landmarks are not those of the checkpoint, one by one."""
        for domain in getattr(self.data, "domains", ()):  # no data module where loaders are given from Python
            known = self.hparams["domains"].get(domain.name)
            if known and domain.landmarks and self.columns(domain) != list(range(len(known))):
                raise ConfigError(
                    f"the landmarks of {domain.name} are not in the order of the checkpoint: {', '.join(known)}; "
                    "put the data's into that order"
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the shots with the weights."""
        if self.keeps_shots:
            checkpoint["shots"] = [{"image": s["image"].cpu(), "points": s["points"].cpu()} for s in self.shots]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the shots back.

        Raises:
            CheckpointError: They are not what was saved.
        """
        shots = checkpoint.get("shots", [])
        check_field("shots", isinstance(shots, list) and all(map(_is_shot, shots)), "a list of images with points")
        self.shots = shots

    def index_of(self, domain: Domain) -> int:
        """Return the index in `names` of a domain of the data.

        Raises:
            ConfigError: The model was trained on no domain of that name, on one with other landmarks, or without shots.
        """
        index = model_domain(self.names, domain)
        if self.keeps_shots and not self.shots:
            raise ConfigError("the model was trained with --data.shots 0 and finds nothing; train it with shots")
        self.columns(domain)
        return index

    def columns(self, domain: Domain) -> list[int]:
        """Return, for each landmark of a domain of the data, which of the model's it is.

        Landmarks are known by name, so that data may have them in another order or lack some. Where names are numbers,
        on either side, the number of landmarks must be the same and the order counts.

        Raises:
            ConfigError: The data have a landmark that the model does not find.
        """
        known = self.hparams["domains"][domain.name]
        if set(domain.landmarks) <= set(known):
            return [known.index(name) for name in domain.landmarks]
        if len(domain.landmarks) != len(known):
            raise ConfigError(
                f"the model finds {len(known)} landmarks of {domain.name}, the data have {len(domain.landmarks)}; "
                f"label those of the model ({', '.join(known)}), or train one on these"
            )
        if not all(name.isdigit() for name in domain.landmarks) and not all(name.isdigit() for name in known):
            stray = next(name for name in domain.landmarks if name not in known)
            raise ConfigError(
                f"the data have a landmark {stray!r} of {domain.name}, the model finds {', '.join(known)}; rename it"
            )
        return list(range(len(known)))

    def rehearse(self) -> None:
        """Prepare to draw radiographs for the first epochs, where `rehearsal` tells a share of them.

        Raises:
            ConfigError: The share is not from 0 to 1.
        """
        share = self.hparams.get("rehearsal", 0.0)
        if not 0 <= share <= 1:
            raise ConfigError(f"--model.rehearsal: expected a share from 0 to 1, got {share}")
        self.rehearsals = rehearsals(self.data.sources, self.input_size) if share else {}

    @property
    def share_done(self) -> float:
        """Share of the epochs of this training that came before the current one."""
        trainer = self.trainer
        return float(self.current_epoch * trainer.num_training_batches / trainer.estimated_stepping_batches)

    @property
    def rehearsing(self) -> bool:
        """Whether domains that can be drawn are, in this epoch."""
        return bool(self.rehearsals) and self.share_done < self.hparams["rehearsal"]

    def rehearsed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
        """Draw as many radiographs as a batch has, with their landmarks, while its domain is rehearsed."""
        domain = int(batch["domain"][0])
        if domain not in self.rehearsals or not self.rehearsing:
            return None
        image, points = self.rehearsals[domain](len(batch["image"]))
        return image.to(self.device), points.to(self.device)

    def adamw(self) -> dict[str, Any]:
        """Return AdamW with warm-up and cosine decay: what the quick recipes train with."""
        return self.cosine_decay(torch.optim.AdamW(self.parameters(), self.setting("lr"), weight_decay=1e-4))

    def cosine_decay(self, optimizer: torch.optim.Optimizer, rise: float = 0.1) -> dict[str, Any]:
        """Return the optimiser with a linear rise over a share of the steps, then half a cosine down to 0."""
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(self, rise))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_validation_start(self) -> None:
        """Start a new evaluation."""
        self.evaluation = LandmarkEvaluation(self.data.domains).to(self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare a batch with its labels."""
        self.test_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log `val/<domain>/mre_<unit>` and `val/mre`, the mean over the domains, each in its own unit."""
        assert self.evaluation is not None
        errors = {
            name: value for name, value in self.evaluation.compute().items() if name.endswith(("mre_mm", "mre_px"))
        }
        self.evaluation = None
        self.log_dict({f"val/{name}": value for name, value in errors.items()})
        self.log("val/mre", torch.stack(list(errors.values())).mean())

    def on_test_start(self) -> None:
        """Start a new evaluation with the domains of the data."""
        self.evaluation = LandmarkEvaluation(self.data.domains, observer_errors(self.data)).to(self.device)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare a batch with its labels."""
        assert self.evaluation is not None
        domain = self.evaluation.domains[int(batch["domain"][0])]
        points, score = self(batch["image"], self.index_of(domain))
        order = self.columns(domain)
        self.evaluation.update(batch, points[:, order], score[:, order])

    def on_test_epoch_end(self) -> None:
        """Log the errors of each domain, and beside them what copying the shot's coordinates gives."""
        assert self.evaluation is not None
        scores = self.evaluation.compute()
        self.evaluation.tell_gaps()
        for name, error in copy_shot_baseline(self.data).items():
            domain, _, metric = name.rpartition("/")
            if name in scores:
                scores[f"{domain}/copy_shot_{metric}"] = torch.tensor(error)
        self.log_dict(scores)

    def report(self, folder: Path) -> None:
        """Write the table of the papers, that by landmark, and figures: overlays, errors, errors by score."""
        assert self.evaluation is not None
        tested = self.trainer.ckpt_path  # none after a training, whose final weights are tested
        self.evaluation.report(folder, self._images(), str(tested or LAST))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[dict[str, Any]]:
        """Return a record an image, in original pixels."""
        name = self.data.domains[int(batch["domain"][0])].name
        domain = self.index_of(self.data.domains[int(batch["domain"][0])])
        points, score = self(batch["image"], domain)
        return records(batch, points, score, name, self.hparams["domains"][name])

    def report_predictions(self, records: list[dict[str, Any]], folder: Path) -> None:
        """Write `predictions.csv` and overlays."""
        write_predictions(records, self._images(), folder)

    def _images(self) -> dict[str, Images]:
        return {source.domain.name: source.images for source in self.data.sources}

    @torch.no_grad()
    def label_training_images(self, find: Callable[[Tensor, int], tuple[Tensor, Tensor]] | None = None) -> PseudoLabels:
        """Label all training images with predictions, the shots with their own labels; call it on every process.

        Args:
            find: What finds points, as `forward` does, which is the default.
        """
        device = self.trainer.strategy.root_device
        self.to(device)
        for known in self.data.domains:
            self.index_of(known)
        labels = PseudoLabels(self.hparams["domains"])
        for batch in self.data.unlabelled_loader():
            domain = int(batch["domain"][0])
            points, score = (find or self)(batch["image"].to(device), domain)
            labels.add(self.names[domain], batch["id"], to_original(points.cpu(), batch["affine"]), score)
        for name, samples in zip(self.names, self.data.shots(), strict=True):
            for shot in samples:
                one = torch.ones(1, len(shot["landmarks"]))
                labels.add(name, [shot["id"]], shot["landmarks"][None], one)
        return labels.gathered()

    def write_labels(self, folder: Path, model: str, stage: str) -> dict[str, Any]:
        """Write `pseudo_labels.json` for the next stage and return its `__init__` arguments; see `Method.hand_over`."""
        # A matcher that was trained without any shot, to select by, finds nothing.
        if self.keeps_shots and not self.shots:
            return {}
        path = folder.resolve() / "pseudo_labels.json"
        labels = self.label_training_images()
        if self.trainer.is_global_zero:
            labels.write(path, {"model": model, "stage": stage, "epoch": self.trainer.current_epoch})
        self.trainer.strategy.barrier()
        return {"pseudo_labels": str(path), "domains": self.hparams["domains"]}


def one_of(option: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value of an option that is none of those allowed.

    Raises:
        ConfigError: The value is another.
    """
    if value not in allowed:
        raise ConfigError(f"--model.{option}: expected {', '.join(allowed)}, got {value}")


def _is_shot(shot: object) -> bool:
    """Tell whether a value is the annotated images of a domain: `(S, C, H, W)` and points `(S, K, 2)`."""
    image, points = (shot.get("image"), shot.get("points")) if isinstance(shot, dict) else (None, None)
    if not isinstance(image, Tensor) or not isinstance(points, Tensor):
        return False
    return image.ndim == 4 and points.ndim == 3 and len(image) == len(points) and points.shape[2] == 2
