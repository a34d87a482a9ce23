"""Perturber and discriminator of APPLE, and how layers of a frozen network are perturbed; see the card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn


class Perturber(nn.Module):
    """Adds `ε · s · tanh(·)` of three convolutions to a latent; at first nothing, for the last convolution is 0.

    Args:
        channels: Of the latent, C.
        epsilon: ε, largest perturbation in standard deviations s of each channel.
    """

    def __init__(self, channels: int, epsilon: float = 1.0) -> None:
        super().__init__()
        inner, self.epsilon = max(1, channels // 2), epsilon
        side = 1 if channels >= 512 else 3
        last = nn.Conv2d(inner, channels, side, padding="same")
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inner, side, padding="same"),
            nn.InstanceNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding="same"),
            nn.InstanceNorm2d(inner),
            nn.ReLU(),
            last,
        )
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(channels))

    def forward(self, latent: Tensor) -> Tensor:
        """Return the perturbation of a latent `(B, C, h, w)`, of its shape, at most ε · s in size."""
        bounded: Tensor = self.epsilon * self.spread[:, None, None] * torch.tanh(self.layers(latent))
        return bounded


class Discriminator(nn.Module):
    """Tells the group from a latent: two strided convolutions, a mean over places, two layers.

    Args:
        channels: Of the latent.
        groups: Number of groups.
        width: Features.
    """

    def __init__(self, channels: int, groups: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 128), nn.LeakyReLU(0.2), nn.Linear(128, groups),
        )  # fmt: skip

    def forward(self, latent: Tensor) -> Tensor:
        """Return the logits `(B, G)` of latents `(B, C, h, w)`."""
        logits: Tensor = self.layers(latent)
        return logits


def through(
    network: nn.Module,
    layers: Sequence[str],
    image: Tensor,
    changes: Iterable[Callable[[Tensor], Tensor]] | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the output of a network, what some layers of it gave, and what that was replaced by.

    Args:
        network: Any module with one input.
        layers: Names of submodules that are called once each and give a tensor `(B, C, h, w)`.
        image: Its input.
        changes: What is added to the output of each layer; nothing where None.

    Raises:
        ValueError: There is no such submodule, or it gives no such tensor.
    """
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}

    def hook(layer: str, change: Callable[[Tensor], Tensor] | None) -> Callable[[nn.Module, object, object], Tensor]:
        def replace(module: nn.Module, given: object, found: object) -> Tensor:
            if not isinstance(found, Tensor) or found.ndim != 4:
                raise ValueError(f"{layer} gives no latent (B, C, h, w)")
            before[layer] = found
            after[layer] = found if change is None else found + change(found)
            return after[layer]

        return replace

    for layer in layers:
        if layer not in dict(network.named_modules()):
            names = ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"the network has no layer {layer!r}; it has {names}")
    own = list(changes) if changes is not None else [None] * len(layers)
    with ExitStack() as hooks:
        for layer, change in zip(layers, own, strict=True):
            hooks.callback(network.get_submodule(layer).register_forward_hook(hook(layer, change)).remove)
        output: Tensor = network(image)
    return output, [before[layer] for layer in layers], [after[layer] for layer in layers]
