"""What baselines add to a plain network: an adversary behind reversed gradients, and an average of its weights."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medzoo.core.classifier.network import ClassifierNetwork


def head_of(network: ClassifierNetwork) -> nn.Linear:
    """Return the last layer of a network of timm."""
    return cast(nn.Linear, getattr(network.model, "get_classifier")())  # noqa: B009 - timm's, unknown to torch's Module


def with_features(network: ClassifierNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits `(B, C)` of images and what the last layer saw, `(B, d)`."""
    seen: list[Tensor] = []
    handle = head_of(network).register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        logits: Tensor = network(image)
    finally:
        handle.remove()
    return logits, seen[0]


def reversed_gradient(values: Tensor, weight: float) -> Tensor:
    """Return the values, to the bit, through which −weight times the gradient goes back."""
    still = values.detach()
    return still - weight * (values - still)


class Adversary(nn.Module):
    """Tells the group from features, whose gradient is reversed (Ganin et al., JMLR 2016, equation 18).

    Args:
        width: Of the features.
        groups: Number of groups.
        inner: Hidden units.
    """

    def __init__(self, width: int, groups: int, inner: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, groups))

    def forward(self, features: Tensor, weight: float) -> Tensor:
        """Return logits `(B, G)`; what reaches the features `(B, d)` is −weight times their gradient."""
        logits: Tensor = self.layers(reversed_gradient(features, weight))
        return logits


class TailAverage(AveragedModel):
    """The mean of a network's weights over the last steps of a training (SWA, Izmailov et al., UAI 2018).

    Every step counts, as in SWAD (Cha et al., NeurIPS 2021), whose search for the first and last of them is not here.
    Statistics of batch normalisation are averaged with the weights.

    Args:
        network: What is averaged; its own weights are left alone.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, use_buffers=True)
        self.requires_grad_(False)

    @property
    def begun(self) -> bool:
        """Whether there is an average yet."""
        return int(self.n_averaged) > 0
