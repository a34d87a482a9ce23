"""Batch normalisation with a branch for each group, and a converter that gives any network such layers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatch
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUP: ContextVar[Tensor | None] = ContextVar("group", default=None)
Network = TypeVar("Network", bound=nn.Module)
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


@contextmanager
def group_context(group: Tensor) -> Iterator[None]:
    """Give the group of each sample to all `GroupBatchNorm` below, for the forward passes of this thread.

    Args:
        group: `(B,)` int64, −1 where unknown.
    """
    token = _GROUP.set(group)
    try:
        yield
    finally:
        _GROUP.reset(token)


class GroupBatchNorm(nn.Module):
    """Batch normalisation with weights, bias and running statistics of its own for each group.

    Samples of unknown group are normalised by the mixture of all groups: its mean and variance from the groups'
    running statistics, weighted by the samples that each has seen, and the mean of their weights and biases. They
    change no statistics. A group that has one value a channel in a training batch is normalised by its running
    statistics, for a batch has none then; one that has no sample is not touched.

    Args:
        norm: Layer that each branch begins as a copy of; what it does besides (activation, dropout) is kept.
        groups: Number of groups.
    """

    def __init__(self, norm: BatchNorm, groups: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(copy.deepcopy(norm) for _ in range(groups))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(groups, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, `(B, C, *S)`, each sample normalised by its group's branch.

        Raises:
            RuntimeError: No group was given, which includes activation checkpointing: it runs outside of the context.
        """
        group = _GROUP.get()
        if group is None or len(group) != len(x):
            given = "none" if group is None else f"those of {len(group)}"
            raise RuntimeError(
                f"expected the groups of {len(x)} samples, got {given}; call within group_context(group)"
            )
        rows = [torch.nonzero(group == g).flatten() for g in range(-1, len(self.branches))]
        parts = [
            self._pooled(x[own]) if g < 0 else self._branch(g, x[own])
            for g, own in enumerate(rows, start=-1)
            if len(own)
        ]
        order = torch.argsort(torch.cat(rows))
        return torch.cat(parts)[order]

    def _branch(self, g: int, x: Tensor) -> Tensor:
        norm = self.branches[g]
        if self.training and x.numel() == x.shape[1]:
            return _normalised(norm, x, *(getattr(norm, n) for n in ("running_mean", "running_var", "weight", "bias")))
        if self.training:
            self.seen[g] += len(x)
        out: Tensor = norm(x)
        return out

    def _pooled(self, x: Tensor) -> Tensor:
        share = (self.seen if self.seen.sum() > 0 else torch.ones_like(self.seen)).to(x.dtype)
        share = (share / share.sum())[:, None]
        mean, var = (torch.stack([getattr(b, n) for b in self.branches]) for n in ("running_mean", "running_var"))
        centre = (share * mean).sum(0)
        spread = (share * (var + mean**2)).sum(0) - centre**2
        first = self.branches[0]
        weight, bias = (
            None if getattr(first, n) is None else torch.stack([getattr(b, n) for b in self.branches]).mean(0)
            for n in ("weight", "bias")
        )
        return _normalised(first, x, centre, spread, weight, bias)


def _normalised(
    norm: nn.Module, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Normalise by given statistics, and do what a layer of timm does besides."""
    eps = float(norm.eps)  # type: ignore[arg-type]
    out = F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)
    for name in ("drop", "act"):
        more = getattr(norm, name, None)
        out = more(out) if isinstance(more, nn.Module) else out
    return out


def convert(network: Network, groups: int, shared: Sequence[str] = ()) -> Network:
    """Give each batch normalisation of a network a branch for each group, in place; return the network.

    Every branch begins as a copy, so that a network in evaluation mode gives what it gave, for any group. Layers of
    timm that also have an activation keep it. Convert synchronised layers of several processes not at all: a process
    without a sample of a group would leave the others waiting.

    Args:
        network: Any module with batch normalisation that keeps running statistics.
        groups: Number of groups.
        shared: Patterns (`fnmatch`) of the names of normalisations that all groups share, such as `*layer1.*`.

    Raises:
        ValueError: It has no such layer (networks with layer or group normalisation), or one that is synchronised or
            frozen; a pattern fits none.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, BatchNorm)]
    chosen = [name for name in names if not any(fnmatch(name, pattern) for pattern in shared)]
    idle = [pattern for pattern in shared if names and not any(fnmatch(name, pattern) for name in names)]
    if idle:
        raise ValueError(f"it has no batch normalisation {idle[0]!r} to share; it has {', '.join(names[:4])}, …")
    frozen = [n for n, m in network.named_modules() if type(m).__name__.startswith("FrozenBatchNorm")]
    if frozen:
        raise ValueError(f"{frozen[0]} is frozen batch normalisation, which has no statistics to adapt")
    if not chosen:
        kinds = "it has no batch normalisation" if not names else "all its batch normalisations are shared"
        raise ValueError(f"{kinds}, so groups cannot have their own; take a network such as resnet18")
    for name in chosen:
        holder, _, last = name.rpartition(".")
        norm = network.get_submodule(name)
        if isinstance(norm, nn.SyncBatchNorm) or getattr(norm, "running_mean", None) is None:
            raise ValueError(f"{name} is synchronised or keeps no running statistics")
        setattr(network.get_submodule(holder), last, GroupBatchNorm(norm, groups))  # type: ignore[arg-type]
    return network


def branched(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a network as it was before `convert`, as those of the converted one: each branch has all.

    Args:
        network: Converted.
        weights: By name; those of normalisations that were converted may already be those of branches.
    """
    found = dict(weights)
    for name, module in network.named_modules():
        if isinstance(module, GroupBatchNorm):
            found.setdefault(f"{name}.seen", module.seen)
            for leaf in module.branches[0].state_dict():
                if f"{name}.{leaf}" in weights:
                    value = found.pop(f"{name}.{leaf}")
                    found |= {f"{name}.branches.{g}.{leaf}": value for g in range(len(module.branches))}
    return found
