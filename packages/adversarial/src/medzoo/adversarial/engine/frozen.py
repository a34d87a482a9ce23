"""A model that an attack leaves as it was: evaluation mode and no gradients of weights for the time of the attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Put a module into evaluation mode, stop gradients of its parameters, and undo all that happened to it.

    Args:
        module: Its modes, `requires_grad` and buffers are restored at the end, also after an error; None does nothing.
    """
    if module is None:
        yield
        return
    parts = list(module.modules())
    modes = [(part, part.training) for part in parts]
    parameters = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = [
        (part, name, buffer, buffer.detach().clone())
        for part in parts
        for name, buffer in part.named_buffers(recurse=False)
    ]
    try:
        module.eval()
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        # Only what differs is written: assigning to a module is slow, and there are hundreds of parts.
        for part, training in modes:
            if part.training != training:
                part.training = training
        for parameter, wanted in parameters:
            parameter.requires_grad_(wanted)
        with torch.no_grad():
            for part, name, buffer, before in buffers:
                if getattr(part, name, None) is not buffer:
                    setattr(part, name, buffer)  # the module has put another tensor in its place
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


@contextmanager
def differentiable(device: torch.device) -> Iterator[None]:
    """Allow gradients in float32 whatever surrounds the call: inference mode, `no_grad`, autocast.

    Args:
        device: Where the images are.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield
