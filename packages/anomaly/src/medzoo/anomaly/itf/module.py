"""ITF as a LightningModule."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.images.oneclass import OneClass
from medzoo.anomaly.images.training import cosine, mirrored
from medzoo.anomaly.itf.losses import ENTROPIES, NEAREST, NOISE, contrast, likelihood, neighbour_squares
from medzoo.anomaly.itf.network import MULTIPLE, Coder
from medzoo.anomaly.itf.views import turned, view
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch

Information = Literal["contrast", "restoration"]
Entropy = Literal["gaussian", "neighbours"]


class ITF(OneClass):
    """Learns codes that say much of normal images and vary little; an image is abnormal by what its code lacks.

    Args:
        size: Height and width of the images, one number for a square, which they have to be for `contrast`; multiples
            of 16.
        backbone: Network of timm that gives features of stride 16, trained from random weights.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        latent: Length of a code.
        information: How what a code says of its image is measured: contrast, to find the other view of the same image
            among all others and among turned ones; restoration, to make the image from the code.
        entropy: How the entropy of codes is measured: gaussian, by their mean square about their mean; neighbours, by
            the distance to near ones.
        entropy_weight: λ, weight of the entropy, in loss and score.
        temperature: Of the contrast.
        mirror: Whether training images are mirrored by chance.
        smooth: Standard deviation in pixels by which score maps are smoothed; scores of images are not.
        batch: Images a batch.
        epochs: Passes over the normal images.
        lr: Learning rate of SGD at the start of the cosine.
        weight_decay: Of SGD.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    scored_with: ClassVar[tuple[str, ...]] = (*OneClass.scored_with, "information", "entropy", "entropy_weight")

    def __init__(
        self,
        size: int | list[int] = [32, 32],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        backbone: str = "resnet18",
        widths: list[int] | None = None,
        latent: int = 128,
        information: Information = "contrast",
        entropy: Entropy = "gaussian",
        entropy_weight: float = 0.02,
        temperature: float = 0.1,
        mirror: bool = True,
        smooth: float = 4.0,
        batch: int = 512,
        epochs: int = 500,
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, MULTIPLE)
        self.save_hyperparameters()
        for name, value, known in (("information", information, Information), ("entropy", entropy, Entropy)):
            if value not in get_args(known):
                raise ConfigError(f"--model.{name}: expected one of {', '.join(get_args(known))}, got {value}")
        if entropy_weight < 0:
            raise ConfigError(f"--model.entropy_weight: expected at least 0, got {entropy_weight}")
        if temperature <= 0:
            raise ConfigError(f"--model.temperature: expected more than 0, got {temperature}")
        if latent < 1:
            raise ConfigError(f"--model.latent: expected at least 1, got {latent}")
        self.contrasts = information == "contrast"
        if self.contrasts and self.size[0] != self.size[1]:
            raise ConfigError(f"--model.size: images turned by 90 degrees must be square, got {list(self.size)}")
        self.net = Coder(backbone, widths, (self.size[0], self.size[1]), latent, restores=not self.contrasts)
        self.neighbours, self.entropy = entropy == "neighbours", ENTROPIES[entropy]
        self.entropy_weight, self.temperature, self.mirror = entropy_weight, temperature, mirror
        self.lr, self.weight_decay = lr, weight_decay

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Raise the information in the codes of normal images and lower their entropy."""
        image = mirrored(batch["image"]) if self.mirror else batch["image"]
        if self.contrasts:
            views = turned(view(image)), turned(view(image))
            one, other = self.net(torch.cat(views)).code.chunk(2)
            information = contrast(one, other, self.temperature)
            codes = torch.cat([one[: len(image)], other[: len(image)]])  # the upright ones: turned ones are not normal
        else:
            codes = self.net(image).code
            information = likelihood(self.made(codes), image).mean()
        entropy = self.entropy(self.placed(codes))
        loss = self.entropy_weight * entropy - information
        found = {"train/information": information.detach(), "train/entropy": entropy.detach()}
        self.log_dict(found, batch_size=len(image))
        self.log("train/loss", loss, batch_size=len(image))
        return loss

    def made(self, codes: Tensor) -> Tensor:
        """Return the images `(B, 3, H, W)` that codes are decoded to."""
        assert self.net.decoder is not None
        made: Tensor = self.net.decoder(codes)
        return made

    def placed(self, codes: Tensor) -> Tensor:
        """Return codes where their entropy is measured: on a sphere if only their direction matters."""
        return F.normalize(codes) * codes.shape[1] ** 0.5 if self.contrasts else codes

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the information says of each image and its code, `(B, 1 + L)`, and a map.

        First the length of the code, or the squared error of the restoration as in the loss. The map has the squared
        error, or one minus the cosine between the code of each cell and that of the image.
        """
        codes = self.net(images)
        if self.contrasts:
            first = codes.code.norm(dim=1)
            away = 1 - F.cosine_similarity(codes.cells, codes.code[:, :, None, None])
            maps = F.interpolate(away[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        else:
            made = self.made(codes.code)
            first, maps = -likelihood(made, images), (made - images).square().mean(1)
        parts = torch.cat([first[:, None], self.placed(codes.code)], dim=1)
        return parts, self.smoothed(maps)

    def noted(self, found: Tensor) -> Tensor:
        """Keep the codes of all training images; that of a single one twice."""
        return found if len(found) > 1 else found.repeat(2, 1)

    def joined(self, parts: Tensor, norms: Tensor) -> Tensor:
        """Return how little the code says of the image, plus λ times how surprising it is among normal codes.

        With contrast the first is minus the cosine to the nearest normal code times the code's length in units of
        their mean length; else the error of the restoration. The second is the share of an image in the estimate
        of the entropy, in nats a coordinate and but for a constant.
        """
        codes, known = parts[:, 1:], norms[:, 1:]
        lack = parts[:, 0]
        if self.contrasts:
            near = (F.normalize(codes) @ F.normalize(known).T).amax(1)
            lack = -near * parts[:, 0] / norms[:, 0].mean().clamp_min(1e-12)
        if self.neighbours:
            squares = neighbour_squares(codes, known, min(NEAREST, len(known)))
            return lack + self.entropy_weight * 0.5 * torch.log(squares / codes.shape[1] + 2 * NOISE**2)
        middle = known.mean(0)
        spread = (known - middle).square().mean() + NOISE**2
        return lack + self.entropy_weight * 0.5 * (codes - middle).square().mean(1) / spread

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD with momentum and a cosine by epoch."""
        parameters = self.parameters()
        return cosine(self, torch.optim.SGD(parameters, self.lr, momentum=0.9, weight_decay=self.weight_decay))
