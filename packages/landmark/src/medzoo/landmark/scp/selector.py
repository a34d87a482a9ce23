"""SCP as a selector: features of a matcher, key points, similarities, and the best set of templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from timm.models import FeatureInfo
from torch import Tensor, nn

from medzoo.core.backbones.encoders import copy_weights, timm_encoder
from medzoo.core.backbones.pretrained import start_from
from medzoo.core.data.cache import ImageCache
from medzoo.core.errors import ConfigError, DataError, raise_all
from medzoo.core.selectors import Choice, Selector
from medzoo.core.sides import sides
from medzoo.landmark.data.checks import check_image
from medzoo.landmark.data.datasets import Geometry, UnlabelledImages
from medzoo.landmark.data.module import LandmarkDataModule
from medzoo.landmark.data.sources import LandmarkSource
from medzoo.landmark.matching.embedder import Embedder
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.scp import keypoints as proposals
from medzoo.landmark.scp.search import Similarity, greedy, random_search
from medzoo.landmark.scp.similarity import Maps, representativeness, templates_of, unit
from medzoo.landmark.shots import place_of, standardise


class SCP(Selector):
    """Sample choosing policy (CVPR 2022): the images whose key points are found best in all others make the templates.

    Args:
        keypoints: Where similarity is measured: `dog` (extrema of differences of Gaussians, the detector of SIFT) or
            `grid`.
        contrast: Least response of a key point; the paper has 0.04 for heads, 0.01 for hands, 0.02 for chests.
        edge: Largest ratio of curvatures of a key point.
        search: `greedy` (a guarantee of 63 % of the best score, and the same choice each time) or `random` sets
            (paper).
        draws: Sets of the random search; the paper has 400 000.
        seed: Seed of the random search.
        backbone: A timm model whose frozen features are compared where no checkpoint of a matcher is given.
        weights: File with weights of the timm model; empty: random ones. Nothing is downloaded.
        size: Height and width that the timm model sees, one number for a square.
        batch: Images compared at a time.
        device: Where to compute, such as `cuda`; empty: on a GPU where there is one.
    """

    def __init__(
        self,
        keypoints: Literal["dog", "grid"] = "dog",
        contrast: float = 0.04,
        edge: float = 10.0,
        search: Literal["greedy", "random"] = "greedy",
        draws: int = 400_000,
        seed: int = 0,
        backbone: str | None = None,
        weights: str | None = None,
        size: int | list[int] = 256,
        batch: int = 8,
        device: str | None = None,
    ) -> None:
        dog = partial(proposals.difference_of_gaussians, contrast=contrast, edge=edge)
        self.propose: proposals.KeypointProposal = dog if keypoints == "dog" else proposals.grid
        self.search, self.draws, self.seed = search, draws, seed
        self.backbone, self.weights, self.size, self.batch = backbone, weights, sides("selector.size", size), batch
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def select(self, model: LightningModule | None, data: LightningDataModule, budget: int) -> list[Choice]:
        """Choose `budget` training images of each domain; see `Selector.select`."""
        if not isinstance(data, LandmarkDataModule):
            raise ConfigError(f"scp chooses landmark images, got the data module {type(data).__name__}")
        embedder, size = self._embedder(model)
        if model is not None and data.given_size:  # the checkpoint's own data have it too, where it was trained so
            size = data.given_size
            if any(side % embedder.strides[0] for side in size):
                raise ConfigError(f"--data.size: expected multiples of {embedder.strides[0]}, got {list(size)}")
        chosen: list[Choice] = []
        for index, source in enumerate(data.sources):
            names = _pool(source)
            if not 1 <= budget <= len(names):
                raise ConfigError(
                    f"--budget: expected 1 to {len(names)}, the images of {source.domain.name}, got {budget}"
                )
            domain = place_of(source.domain.name, model.names) if isinstance(model, LandmarkMethod) else 0
            images = UnlabelledImages(
                [s.images for s in data.sources],
                [(index, name) for name in names],
                Geometry(size, data.hparams["resize"]),
                ImageCache([], size, 0),
            )
            similarity = self.similarity(embedder, images, domain)
            chosen += self._ranked(similarity, source, names, budget)
        return chosen

    def _embedder(self, model: LightningModule | None) -> tuple[Embedder, tuple[int, int]]:
        """Return the network that embeds pixels and the height and width that it sees."""
        if model is None and self.backbone is None:
            raise ConfigError("scp needs --ckpt_path FILE of a matcher, or --selector.backbone NAME of a timm model")
        if model is None:
            assert self.backbone is not None
            features = FrozenFeatures(self.backbone, self.weights).to(self.device)
            if self.weights is None:  # stated of a network that exists
                rank_zero_warn(f"scp: {self.backbone} has random weights; --selector.weights FILE gives others")
            return features, self.size
        if self.backbone is not None:
            raise ConfigError("scp compares either a checkpoint or --selector.backbone, not both")
        embedder = model.to(self.device).embedder if isinstance(model, LandmarkMethod) else None
        if embedder is None:
            name = type(model).__name__
            raise ConfigError(f"this {name} matches nothing; give a checkpoint of a matcher, such as stage 1 of uod")
        assert isinstance(model, LandmarkMethod)
        return embedder, model.input_size

    @torch.no_grad()
    def similarity(self, embedder: Embedder, images: UnlabelledImages, domain: int) -> Similarity:
        """Return how well the key points of image i are found in image j, `(N, N)`; two passes over the images.

        Args:
            embedder: Embeds whole images.
            images: N images of one domain.
            domain: Its index for the embedder.
        """
        templates: list[list[Tensor]] = []
        for maps, batch in self._maps(embedder, images, domain):
            height, width = batch.shape[-2:]
            found = [proposals.thin(self.propose(image.numpy()), (width, height)) for image in batch[:, 0].cpu()]
            templates += templates_of(maps, [torch.from_numpy(points).float() for points in found], embedder.strides)
        columns = [representativeness(maps, templates).cpu() for maps, _ in self._maps(embedder, images, domain)]
        return torch.cat(columns, dim=1).double().numpy()

    def _maps(self, embedder: Embedder, images: UnlabelledImages, domain: int) -> Iterator[tuple[Maps, Tensor]]:
        for start in range(0, len(images), self.batch):
            rows = range(start, min(start + self.batch, len(images)))
            batch = torch.stack([images[i]["image"] for i in rows]).to(self.device)
            yield unit(embedder(standardise(batch), domain)), batch

    def _ranked(
        self, similarity: Similarity, source: LandmarkSource, names: Sequence[str], budget: int
    ) -> list[Choice]:
        if self.search == "greedy":
            order = greedy(similarity, budget)
        else:
            order = random_search(similarity, budget, self.draws, self.seed)
        covered, before, choices = np.zeros(similarity.shape[1]), 0.0, []
        for rank, i in enumerate(order, 1):
            covered = np.maximum(covered, similarity[i])
            score = float(covered.mean())
            path = source.images.path(names[i])
            choices.append(Choice(rank, source.domain.name, names[i], path, score - before, score))
            before = score
        return choices


class FrozenFeatures(nn.Module):
    """Maps of a timm model as embeddings, the coarsest first; random unless weights are given.

    Args:
        name: Name of the timm model.
        weights: File with its weights.
    """

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        try:
            encoder = timm_encoder(name, 1)
        except ValueError as error:
            raise ConfigError(f"--selector.backbone: {error}") from error
        start_from(weights, partial(copy_weights, encoder))
        self.encoder = encoder.eval()
        self.strides: list[int] = list(reversed(cast(FeatureInfo, encoder.feature_info).reduction()))

    def forward(self, image: Tensor, domain: int) -> list[Tensor]:
        """Map images `(B, 1, H, W)` to their maps."""
        del domain
        return list(reversed(self.encoder(image)))


def _pool(source: LandmarkSource) -> tuple[str, ...]:
    """Return the images to choose from: those for training; all images of a folder that has no label yet.

    Raises:
        DataError: An image cannot be used, or there is none.
    """
    names = source.split.train or source.predict
    raise_all([fault for name in names for fault in check_image(source.images, name)[1]] if source.on_disk else [])
    if not names:
        raise DataError(source.domain.name, "has no training image to choose from", "leave --data.all_test off")
    return names
