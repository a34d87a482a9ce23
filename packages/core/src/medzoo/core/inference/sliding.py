"""Sliding window over volumes that do not fit on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor


def probability(
    volume: Tensor,
    networks: Sequence[Callable[[Tensor], Tensor]],
    patch: Sequence[int],
    overlap: float,
    device: torch.device,
    windows: int = 1,
) -> Tensor:
    """Return the probability of being normal, the mean over the networks, by MONAI's sliding window.

    Only the windows are on `device`; the volume and its result, which has a gradient to the volume where this asks for
    one, stay in main memory.

    Args:
        volume: `(D, H, W)` in [0, 1].
        networks: Each maps `(B, 1, d, h, w)` to logits.
        patch: Window.
        overlap: Share of the window that neighbours share.
        device: Where the networks are.
        windows: Windows a step.
    """
    from monai.inferers import sliding_window_inference

    total: Tensor | None = None
    for network in networks:
        part = sliding_window_inference(
            volume[None, None],
            tuple(patch),
            windows,
            partial(_opinion, network),
            overlap=overlap,
            mode="gaussian",
            sw_device=device,
            device=torch.device("cpu"),
        )[0, 0]  # (1, 1, D, H, W) -> (D, H, W)
        if total is None:
            total = part
        elif part.requires_grad:
            total = total + part
        else:  # in place: a volume may fill the memory
            total.add_(part)
    if total is None:
        raise ValueError("networks must hold at least one")
    return total / len(networks) if total.requires_grad else total.div_(len(networks))


def _opinion(network: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    found = torch.sigmoid(network(windows))
    return found.clone() if found.requires_grad else found  # MONAI weighs it in place, and the gradient needs it
