"""Detectors that learn from attacked images: a support vector machine, and networks on the maps of layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medzoo.adversarial.detectors.base import Detector
from medzoo.adversarial.detectors.seen import Seen, Watched

_LAYERS, _STEPS, _HALF, _RATE, _DECAY = 3, 100, 16, 1e-3, 1e-4


class SupportVectors(Detector):
    """SVM: decision value of a support vector machine with Gaussian kernel on the head's input."""

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Fit normal against attacked with the settings of scikit-learn, on standardised features."""
        from sklearn.svm import SVC

        both = torch.cat([normal.pooled[-1], attacked.pooled[-1]]).double().cpu()
        mean, spread = both.mean(dim=0), both.std(dim=0, correction=0).clamp_min(1e-12)
        label = [0] * len(normal) + [1] * len(attacked)
        machine = SVC(kernel="rbf", gamma=1 / both.shape[1]).fit(((both - mean) / spread).numpy(), label)
        found = {
            "mean": mean.float(),
            "spread": spread.float(),
            "vectors": torch.from_numpy(machine.support_vectors_).float(),
            "weights": torch.from_numpy(machine.dual_coef_[0]).float(),
            "bias": torch.tensor(float(machine.intercept_[0])),
        }
        self.state = {name: value.to(normal.images.device) for name, value in found.items()}

    def score(self, seen: Seen) -> Tensor:
        """Return the decision value, above 0 where it says attacked."""
        points = (seen.pooled[-1] - self.state["mean"]) / self.state["spread"]
        kernel = torch.exp(-torch.cdist(points, self.state["vectors"]).square() / points.shape[1])
        return kernel @ self.state["weights"] + self.state["bias"]


class LayerNetworks(Detector):
    """DNN (after Metzen 2017): small convolutional networks on the maps of three layers, their logits averaged.

    The paper's networks have 96 and 192 channels and look at one layer each; these have `width` and twice that, and
    learn from 100 batches of 32 images.

    Args:
        watched: Gives the maps.
        width: Channels.
        seed: Of the weights and of the order of the images.
    """

    def __init__(self, watched: Watched, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.watched, self.width, self.seed = watched, width, seed
        count = len(watched.layers)
        places = sorted({round(i * (count - 1) / max(1, _LAYERS - 1)) for i in range(min(_LAYERS, count))})
        self.names = [watched.layers[place] for place in places]
        self.networks: nn.ModuleList | None = None

    def _build(self, sizes: list[int]) -> nn.ModuleList:
        w = self.width
        return nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(size, w, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                nn.Conv2d(w, 2 * w, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                nn.Conv2d(2 * w, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(0),
            )
            for size in sizes
        )  # fmt: skip

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Train by Adam on as many normal as attacked images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks = self._build(self._sizes(normal.images[:1])).to(normal.images.device)
        optimiser = torch.optim.Adam(networks.parameters(), _RATE, weight_decay=_DECAY)
        generator = torch.Generator().manual_seed(self.seed)
        label = torch.cat([torch.zeros(_HALF), torch.ones(_HALF)]).to(normal.images.device)
        for _ in range(_STEPS):
            parts = [
                seen.images[torch.randint(len(seen), (_HALF,), generator=generator)] for seen in (normal, attacked)
            ]
            with torch.no_grad():
                _, maps = self.watched.maps(torch.cat(parts))
            each = [network(maps[name]) for network, name in zip(networks, self.names, strict=True)]
            loss = torch.stack([F.binary_cross_entropy_with_logits(logit, label) for logit in each]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.networks = networks.requires_grad_(False)
        self.state = {name: value.detach().clone() for name, value in networks.state_dict().items()}

    def _sizes(self, image: Tensor) -> list[int]:
        with torch.no_grad():
            _, maps = self.watched.maps(image)
        return [maps[name].shape[1] for name in self.names]

    def score(self, seen: Seen) -> Tensor:
        """Return the mean logit; the maps are computed again, so that gradients reach the images."""
        if self.networks is None:
            self.networks = self._build([self.state[f"{i}.0.weight"].shape[1] for i in range(len(self.names))])
        _, maps = self.watched.maps(seen.images)
        each = []
        for i, (network, name) in enumerate(zip(self.networks, self.names, strict=True)):
            own = {key.partition(".")[2]: value for key, value in self.state.items() if key.startswith(f"{i}.")}
            each.append(functional_call(network, own, (maps[name],)))
        return torch.stack(each).mean(dim=0)
