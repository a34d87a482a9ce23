"""UOD as a Lightning module: stage 1 learns to match, stage 2 to detect with the labels that stage 1 hands over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from medzoo.core.errors import CheckpointError, ConfigError, DataError
from medzoo.core.module import Method
from medzoo.core.ops.elastic_deform import RandomElasticDeform
from medzoo.landmark import decode, matching
from medzoo.landmark.backbone import load_vgg
from medzoo.landmark.data.baseline import copy_shot_baseline
from medzoo.landmark.evaluation import LandmarkEvaluation, model_domain, records, to_network, to_original
from medzoo.landmark.patches import Jitter, Warp, jitter, sample_patches
from medzoo.landmark.pretrained import find_weights, read_weights
from medzoo.landmark.uod.losses import heatmap, heatmap_loss
from medzoo.landmark.uod.network import DATR, UVGG
from medzoo.landmark.uod.pseudo import PseudoLabels
from medzoo.landmark.uod.swin import load_swin


class UOD(Method):
    """Universal one-shot detection of anatomical landmarks (MICCAI 2023): one annotated image for each domain.

    Args:
        stage: `stage1` (matching), `stage2` (detection) or `all` (both, on the command line).
        domains: Landmark names by domain; empty: those of the data.
        pseudo_labels: File of labels that stage 1 wrote, for stage 2.
        match_size: Side of the images in stage 1, a multiple of 32.
        patch: Side of the augmented patches that must be found in the image.
        points: Points matched for each patch; the paper takes one.
        vgg_widths: Channels of the VGG stages.
        vgg_depths: Convolutions of the VGG stages.
        vgg_norm: Normalisation in the VGG: none (paper), batch or group.
        decoder_widths: Channels of the universal decoder.
        embedding: Channels of the embeddings.
        shared_network: Embed patch and image with one network; the paper trains one for each.
        window: Half width in cells of the window around the true cell in the loss.
        temperature: Factor on the cosines in the loss.
        margin: Added cosine for each cell of distance from the true one.
        clamp: Clamp cosines to [0, 1] in the loss, as in the paper.
        fuse: `product` of the cosines of all strides (public code) or `softmax_product` (figure of the paper).
        upsampling: How coarse strides reach the finest: `nearest` (public code) or `bilinear`, which refines maxima.
        vgg_weights: Initial weights of the VGGs: a file, or `vgg19` where a cache has it; empty: random ones.
        match_lr: Learning rate of stage 1.
        match_epochs: Epochs of stage 1.
        match_steps: Steps of stage 1 instead of epochs.
        match_batch: Images a batch in stage 1.
        size: Side of the images in stage 2.
        embed: Channels of the first transformer stage.
        depths: Blocks of the transformer's stages.
        heads: Attention heads of the transformer's stages.
        attention_window: Side of the attention windows in tokens.
        drop_path: Largest rate of stochastic depth.
        layer_scale: Initial value of the domain-specific scales.
        attention: `query`: the query projection is per domain (paper); `origin`: none is.
        mlp: `domain`: an MLP for each domain (public code); `shared`: one for all.
        residual: `outer`: x + scale·MLP(x); `inner`: scale·(x + MLP(x)), as the public code computes.
        swin_weights: Initial weights of the transformer: a file, or `swin_base` (`swin_small`, `swin_tiny`) where a
            cache has it; empty: random ones.
        checkpointing: Recompute the blocks in the backward pass to save memory.
        target: Heat maps are to become `alpha_power` (paper), `gaussian`, or a distribution over pixels, `softmax`.
        decoder: How points are read from heat maps: component_mean (paper), local_mean (best with `softmax`), argmax,
            quarter, parabola, soft_argmax or dark.
        sigma: Width of the target in pixels of the network's image.
        detect_lr: Learning rate of stage 2.
        detect_epochs: Epochs of stage 2.
        detect_steps: Steps of stage 2 instead of epochs.
        detect_batch: Images a batch in stage 2.
        schedule: `paper` (Adam; steps in stage 1, a cycle in stage 2) or `cosine` (AdamW, warm-up and cosine decay).
        self_training: Share of stage 2's epochs after which its own predictions replace the labels of stage 1, anew
            for each epoch; the paper has 0.5, and 1 never does.
        augment: Strength of the deformation and intensity changes of whole images in both stages; the paper has 0.
    """

    stages: ClassVar[tuple[str, ...]] = ("stage1", "stage2")

    def __init__(
        self,
        stage: str = "stage1",
        domains: dict[str, list[str]] | None = None,
        pseudo_labels: str | None = None,
        match_size: int = 384,
        patch: int = 256,
        points: int = 1,
        vgg_widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        vgg_depths: tuple[int, ...] = (2, 2, 4, 4, 4),
        vgg_norm: str = "none",
        decoder_widths: tuple[int, ...] = (256, 128, 64, 128),
        embedding: int = 16,
        shared_network: bool = False,
        window: int = 6,
        temperature: float = 1.0,
        margin: float = 0.0,
        clamp: bool = True,
        fuse: str = "product",
        upsampling: str = "nearest",
        vgg_weights: str | None = "vgg19",
        match_lr: float = 1e-5,
        match_epochs: int = 1500,
        match_steps: int | None = None,
        match_batch: int = 6,
        size: int = 576,
        embed: int = 128,
        depths: tuple[int, ...] = (2, 2, 18, 2),
        heads: tuple[int, ...] = (4, 8, 16, 32),
        attention_window: int = 7,
        drop_path: float = 0.5,
        layer_scale: float = 1e-4,
        attention: str = "query",
        mlp: str = "domain",
        residual: str = "outer",
        swin_weights: str | None = "swin_base",
        checkpointing: bool = False,
        target: str = "alpha_power",
        decoder: str = "component_mean",
        sigma: float = 10.0,
        detect_lr: float = 1e-4,
        detect_epochs: int = 300,
        detect_steps: int | None = None,
        detect_batch: int = 4,
        schedule: str = "paper",
        self_training: float = 0.5,
        augment: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if stage not in ("all", *self.stages):
            raise ConfigError(f"--model.stage: expected all, stage1 or stage2, got {stage}")
        self.stage = stage
        self.contrast = matching.Contrast(window, temperature, margin, clamp=clamp)
        self.network: nn.Module | None = None
        self.patch_network: UVGG | None = None
        self.shots: list[dict[str, Tensor]] = []
        """Of each domain, the shots' images `(S, 1, H, W)` and points `(S, K, 2)` in network pixels."""
        self.evaluation: LandmarkEvaluation | None = None
        self.labels: PseudoLabels | None = None
        self.own_labels_of: int | None = None
        """Epoch for which the model labelled the training images itself; None while the labels are those of stage 1."""
        self.view = RandomElasticDeform(
            6,
            rms=0.02 * augment * self.input_size[0],
            rotation=10 * augment,
            zoom=(1 / (1 + 0.1 * augment), 1 + 0.1 * augment),
            translation=0.05 * augment * self.input_size[0],
            sampling={"image": (1, "border")},
        )
        if domains:
            self._build(domains)

    # What the method asks of the data and the runner.

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images in this stage."""
        side = int(self.hparams["size" if self.stage == "stage2" else "match_size"])
        return side, side

    @property
    def batch_size(self) -> int:
        """Images a batch in this stage."""
        return int(self.hparams["detect_batch" if self.stage == "stage2" else "match_batch"])

    @property
    def max_epochs(self) -> int:
        """Epochs of this stage."""
        return int(self.hparams["detect_epochs" if self.stage == "stage2" else "match_epochs"])

    @property
    def max_steps(self) -> int | None:
        """Steps of this stage, where they are given."""
        steps: int | None = self.hparams["detect_steps" if self.stage == "stage2" else "match_steps"]
        return steps

    # Networks and what they need besides weights.

    def _build(self, domains: dict[str, list[str]]) -> None:
        """Make the networks of this stage, once the domains are known."""
        h = self.hparams
        h["domains"] = {name: list(landmarks) for name, landmarks in domains.items()}
        self.names = list(domains)
        if self.stage == "stage2":
            self.network = DATR(
                [len(names) for names in domains.values()],
                h["embed"], h["depths"], h["heads"], h["attention_window"], 1, h["drop_path"], h["layer_scale"],
                h["attention"], h["mlp"], h["residual"], h["checkpointing"],
            ).to(memory_format=torch.channels_last)  # fmt: skip
            return
        networks = [
            UVGG(len(domains), 1, h["vgg_widths"], h["vgg_depths"], h["decoder_widths"], h["embedding"], h["vgg_norm"])
            for _ in range(1 if h["shared_network"] else 2)
        ]
        # This layout spares a CPU a fifth of the step's time (tiny widths) or more; values do not depend on it.
        networks = [network.to(memory_format=torch.channels_last) for network in networks]
        self.network, self.patch_network = networks[0], None if h["shared_network"] else networks[1]

    @property
    def _matcher(self) -> UVGG:
        """The network of stage 1."""
        assert isinstance(self.network, UVGG)
        return self.network

    @property
    def _detector(self) -> DATR:
        """The network of stage 2."""
        assert isinstance(self.network, DATR)
        return self.network

    def configure_model(self) -> None:
        """Take the domains from the data where no checkpoint told them."""
        if self.network is None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self._build({d.name: list(d.landmarks) for d in data.domains})

    def setup(self, stage: str) -> None:
        """Take the shots from the data to train on, the weights to start from, and the labels of stage 1."""
        if stage != "fit":
            return
        self._load_pretrained()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.shots = []
        for domain, samples in zip(data.domains, data.shots(), strict=True):
            if not samples:
                raise ConfigError(f"domain {domain.name} has no shot, and UOD needs one of each")
            image = torch.stack([s["image"] for s in samples])
            points = torch.stack([to_network(s["landmarks"][None], s["affine"][None])[0] for s in samples])
            self.shots.append({"image": image, "points": points})
        if self.stage == "stage2":
            if self.hparams["pseudo_labels"] is None:
                raise ConfigError("stage2 needs --model.pseudo_labels FILE, which stage1 writes")
            self.labels = PseudoLabels.read(self.hparams["pseudo_labels"])
            for index, source in enumerate(data.sources):
                lost = self.labels.missing(source.domain.name, source.split.train)
                if lost:
                    where = self.hparams["pseudo_labels"]
                    raise DataError(
                        where, f"has no label for {lost[0]} of {data.domains[index].name}", "run stage1 again"
                    )

    def _load_pretrained(self) -> None:
        """Start the encoders from weights on this machine and tell which, or that there are none."""
        wanted = self.hparams["swin_weights" if self.stage == "stage2" else "vgg_weights"]
        if not wanted:
            return
        path = find_weights(wanted)
        if path is None:
            rank_zero_warn(
                f"no weights of {wanted} are in the caches of this machine: the encoders start from random ones"
            )
            return
        weights = read_weights(path)
        try:
            for network in filter(None, (self.network, self.patch_network)):
                if isinstance(network, DATR):
                    load_swin(network.encoder, weights)
                else:
                    for encoder in network.encoders:  # type: ignore[union-attr]
                        load_vgg(encoder, weights)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        rank_zero_info(f"encoders start from {path}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the shots with the weights, for they are part of what the model knows, and labels of its own making."""
        checkpoint["shots"] = [{key: value.cpu() for key, value in shot.items()} for shot in self.shots]
        if self.labels is not None and self.own_labels_of is not None:
            checkpoint["own_labels"] = (self.own_labels_of, self.labels.points, self.labels.scores)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the shots back, and the labels."""
        self.shots = checkpoint["shots"]
        if "own_labels" in checkpoint:
            self.own_labels_of, points, scores = checkpoint["own_labels"]
            self.labels = PseudoLabels(self.hparams["domains"], points, scores)

    def configure_optimizers(self) -> Any:
        """Adam with the paper's schedule, or AdamW with warm-up and cosine decay."""
        second = self.stage == "stage2"
        lr = self.hparams["detect_lr" if second else "match_lr"]
        if self.hparams["schedule"] == "cosine":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.parameters(), lr, weight_decay=1e-4)
            decay: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, self._warm_cosine)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}
        if second:
            optimizer = torch.optim.Adam(self.parameters(), lr)
            cycle = torch.optim.lr_scheduler.CyclicLR(optimizer, lr, 10 * lr, 300, cycle_momentum=False)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
        optimizer = torch.optim.Adam(self.parameters(), lr, weight_decay=1e-4)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.8)}

    def _warm_cosine(self, step: int) -> float:
        """Factor on the learning rate: a linear rise over a tenth of the steps, then half a cosine down to 0."""
        if step == 0:
            # The optimiser is made before a resumed run has found its place in the data, and asking for the number of
            # steps makes the loader: it would start anew.
            return 0.01
        steps = int(self.trainer.estimated_stepping_batches)
        rise = max(1, steps // 10)
        return (
            step / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / (steps - rise + 1)))
        )

    # Training.

    def on_train_epoch_start(self) -> None:
        """Label the training images anew once the self-training has begun."""
        epoch = self.current_epoch
        epochs = self.trainer.estimated_stepping_batches / self.trainer.num_training_batches
        begins = self.hparams["self_training"] * epochs
        # A run that is resumed within an epoch has the labels of its beginning, from the checkpoint.
        if self.stage == "stage2" and epoch >= max(begins, 1) and self.own_labels_of != epoch:
            self.eval()
            self.labels, self.own_labels_of = self._label(), epoch
            self.train()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        domain = int(batch["domain"][0])
        loss = self._detection_loss(batch, domain) if self.stage == "stage2" else self._matching_loss(batch, domain)
        self.log("train/loss", loss)
        return loss

    def _matching_loss(self, batch: dict[str, Any], domain: int) -> Tensor:
        image = self._intensities(
            self.view({"image": batch["image"]})["image"] if self.hparams["augment"] else batch["image"]
        )
        a = self.hparams["augment"]
        warp = Warp(20.0, (1 / (1 + 0.2 * a), 1 + 0.2 * a), 0.15 * a, 0.02 * a)
        patches = sample_patches(image, self.hparams["patch"], self.hparams["points"], warp, self._jitter)
        encode = self.patch_network or self._matcher
        features, crops = self._matcher(standardise(image), domain), encode(standardise(patches.image), domain)
        between, strides = self.hparams["upsampling"] == "bilinear", self._matcher.strides
        templates = matching.take_templates(crops, patches.points, strides, between)
        losses = matching.contrastive_loss(features, templates, patches.targets, strides, self.contrast, patches.valid)
        return torch.stack(losses).sum()

    def _detection_loss(self, batch: dict[str, Any], domain: int) -> Tensor:
        assert self.labels is not None
        points, _ = self.labels.look_up(self.names[domain], batch["id"])
        sample = {"image": batch["image"], "landmarks": to_network(points.to(batch["affine"]), batch["affine"])}
        if self.hparams["augment"]:
            sample = self.view(sample)
            sample["image"] = self._intensities(sample["image"])
        logits = self._detector(standardise(sample["image"]), domain)
        return heatmap_loss(logits, sample["landmarks"], self.hparams["sigma"], self.hparams["target"])

    @property
    def _jitter(self) -> Jitter:
        a = self.hparams["augment"]
        return Jitter(gamma=0.3 * a, noise=0.03 * a)

    def _intensities(self, image: Tensor) -> Tensor:
        return jitter(image, self._jitter) if self.hparams["augment"] else image

    # Prediction.

    def forward(self, image: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Find the landmarks of a domain.

        Args:
            image: `(B, 1, H, W)` in [0, 1].
            domain: Index of the domain in `domains`.

        Returns:
            Points `(B, K, 2)` in pixels of `image` and scores `(B, K)` in [0, 1].
        """
        if self.stage == "stage2":
            heat = heatmap(self._detector(standardise(image), domain), self.hparams["target"])
            return decode.DECODERS[self.hparams["decoder"]](heat)
        strides = self._matcher.strides
        shot = {key: value.to(image.device) for key, value in self.shots[domain].items()}
        shown = self._matcher(standardise(shot["image"]), domain)
        fuse, upsampling = self.hparams["fuse"], self.hparams["upsampling"]
        templates = matching.take_templates(shown, shot["points"], strides, upsampling == "bilinear")
        return matching.find(self._matcher(standardise(image), domain), templates, strides, fuse, upsampling)

    def on_test_start(self) -> None:
        """Start a new evaluation with the domains of the data."""
        self.evaluation = LandmarkEvaluation(self.trainer.datamodule.domains).to(self.device)  # type: ignore[attr-defined]

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare a batch with its labels."""
        assert self.evaluation is not None
        domain = model_domain(self.names, self.evaluation.domains[int(batch["domain"][0])])
        self.evaluation.update(batch, self(batch["image"], domain)[0])

    def on_test_epoch_end(self) -> None:
        """Log the errors of each domain, and beside them what copying the shot's coordinates gives."""
        assert self.evaluation is not None
        scores = self.evaluation.compute()
        for name, error in copy_shot_baseline(self.trainer.datamodule).items():  # type: ignore[attr-defined]
            domain, _, metric = name.rpartition("/")
            if name in scores:
                scores[f"{domain}/copy_shot_{metric}"] = torch.tensor(error)
        self.log_dict(scores)

    def report(self, folder: Path) -> None:
        """Write overlays, error distributions and the table by landmark."""
        assert self.evaluation is not None
        self.evaluation.report(folder)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[dict[str, Any]]:
        """Return a record an image, in original pixels."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        name = data.domains[int(batch["domain"][0])].name
        domain = model_domain(self.names, data.domains[int(batch["domain"][0])])
        points, score = self(batch["image"], domain)
        return records(batch, points, score, name, self.hparams["domains"][name])

    @torch.no_grad()
    def _label(self) -> PseudoLabels:
        """Label all training images with predictions, the shots with their own labels."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        device = self.trainer.strategy.root_device
        self.to(device)
        labels = PseudoLabels(self.hparams["domains"])
        for batch in data.unlabelled_loader():
            domain = int(batch["domain"][0])
            points, score = self(batch["image"].to(device), domain)
            labels.add(self.names[domain], batch["id"], to_original(points.cpu(), batch["affine"]), score)
        for name, samples in zip(self.names, data.shots(), strict=True):
            for shot in samples:
                one = torch.ones(1, len(shot["landmarks"]))
                labels.add(name, [shot["id"]], shot["landmarks"][None], one)
        return labels.gathered()

    def hand_over(self, folder: Path) -> dict[str, Any]:
        """Write the labels of all training images for stage 2."""
        path = folder.resolve() / "pseudo_labels.json"
        labels = self._label()
        if self.trainer.is_global_zero:
            labels.write(path, {"model": "uod", "stage": self.stage, "epoch": self.trainer.current_epoch})
        self.trainer.strategy.barrier()
        return {"pseudo_labels": str(path), "domains": self.hparams["domains"]}


def standardise(image: Tensor) -> Tensor:
    """Bring each image of `(B, C, H, W)` to mean 0 and standard deviation 1."""
    mean, std = image.mean(dim=(1, 2, 3), keepdim=True), image.std(dim=(1, 2, 3), keepdim=True)
    return (image - mean) / (std + 1e-3)
