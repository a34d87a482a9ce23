"""Layers that hold one set of weights per domain (data set or anatomy) and use the one that is chosen.

A batch holds images of one domain only, so the index is a plain int: no gather, and the weights of the other domains
take no part in the step. Their gradients stay None and their batch statistics unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.seams import BatchNorm


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a 1×1 convolution, weight `(out, in, 1, 1)`."""
    # One tap has nothing to dilate, but with it torch calls oneDNN on a single thread too: twice the speed on a CPU.
    return F.conv2d(x, weight, bias, dilation=2 if x.device.type == "cpu" else 1)


class ByDomain:
    """Marks a list of modules or parameters that holds one for each domain, in their order."""


class ScalesByDomain(ByDomain, nn.ParameterList):
    """Parameters of equal shape, one for each domain."""


class PerDomain(ByDomain, nn.ModuleList):
    """Modules of equal build, one per domain, of which a call uses one."""

    def forward(self, x: Tensor, domain: int) -> Tensor:
        """Apply the module of `domain` to `x`."""
        out: Tensor = self[domain](x)
        return out


def batch_norms(domains: int, channels: int) -> PerDomain:
    """Batch normalisations that keep statistics and affine weights per domain."""
    return PerDomain(nn.BatchNorm2d(channels) for _ in range(domains))


class RoutedNorm(nn.Module):
    """One copy of a normalisation for each domain, inside a network that knows no domains; `route` chooses it.

    Args:
        norm: The normalisation; its copies start with its weights.
        domains: Number of domains.
    """

    def __init__(self, norm: nn.Module, domains: int) -> None:
        super().__init__()
        self.each = PerDomain(deepcopy(norm) for _ in range(domains))
        self.domain = 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the normalisation of the chosen domain."""
        out: Tensor = self.each[self.domain](x)
        return out


def route_norms(network: nn.Module, domains: int) -> None:
    """Give every batch normalisation of a network one copy a domain, in place.

    A batch holds one domain, so that shared running statistics would fit none of them in evaluation.
    """
    for name, child in network.named_children():
        if isinstance(child, BatchNorm):
            setattr(network, name, RoutedNorm(child, domains))
        else:
            route_norms(child, domains)


def route(network: nn.Module, domain: int) -> None:
    """Use the normalisations of `domain` in the next calls of a network after `route_norms`."""
    for module in network.modules():
        if isinstance(module, RoutedNorm):
            module.domain = domain


class SeparableConv(nn.Module):
    """Depthwise 3×3 per domain, pointwise 1×1 shared, batch normalisation per domain, activation.

    The domain-adaptive convolution of GU2Net (arXiv 2103.04657), used by UOD's decoders as well.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        domains: Number of domains.
        negative_slope: Slope of the leaky ReLU; 0 is ReLU (UOD), 0.01 GU2Net.
    """

    def __init__(self, in_channels: int, out_channels: int, domains: int, negative_slope: float = 0.0) -> None:
        super().__init__()
        self.depthwise = PerDomain(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels) for _ in range(domains)
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        self.norm = batch_norms(domains, out_channels)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor | Sequence[Tensor], domain: int) -> Tensor:
        """Map `(B, in_channels, H, W)` of one domain to `(B, out_channels, H, W)`.

        Both convolutions are sums over channels, so maps that lie side by side need not be copied into one: `x` may be
        several, `(B, C_i, H, W)` with `in_channels` in all.
        """
        maps = [x] if isinstance(x, Tensor) else x
        depthwise, norm = self.depthwise[domain], self.norm[domain]
        weight, bias = self.pointwise.weight, self.pointwise.bias
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert depthwise.bias is not None
        assert bias is not None
        if not norm.training:  # the normalisation is a part of the product, which spares a pass over the map
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            weight, bias = weight * scale[:, None, None, None], (bias - norm.running_mean) * scale + norm.bias
        sizes = [m.shape[1] for m in maps]
        shares = zip(
            depthwise.weight.split(sizes), depthwise.bias.split(sizes), weight.split(sizes, dim=1), strict=True
        )
        seen = [
            pointwise(F.conv2d(m, w, b, padding=1, groups=len(w)), p, bias if i == 0 else None)
            for i, (m, (w, b, p)) in enumerate(zip(maps, shares, strict=True))
        ]
        out = reduce(torch.add, seen)
        if norm.training:
            out = norm(out)
        return F.leaky_relu_(out, self.negative_slope) if self.negative_slope else F.relu_(out)


class SeparableDoubleConv(nn.Module):
    """Two `SeparableConv` in a row: `in → hidden → out` channels."""

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, domains: int, negative_slope: float = 0.0
    ) -> None:
        super().__init__()
        self.first = SeparableConv(in_channels, hidden_channels, domains, negative_slope)
        self.second = SeparableConv(hidden_channels, out_channels, domains, negative_slope)

    def forward(self, x: Tensor | Sequence[Tensor], domain: int) -> Tensor:
        """Map `(B, in_channels, H, W)` of one domain, in one or in several parts, to `(B, out_channels, H, W)`."""
        out: Tensor = self.second(self.first(x, domain), domain)
        return out


class ContextBlock(nn.Module):
    """Four branches of growing receptive field beside a projection of the input (RFB, «ASPP» in CC2D).

    Branch 0 is 1×1; branches with k = 3, 5, 7 are 1×1, 1×k, k×1, and 3×3 with dilation k; their concatenation goes
    through a 3×3 convolution, the projected input is added, ReLU follows. Convolutions have no bias and no activation
    between. Weights are shared by the domains; the normalisations are not (the public code shares them), because
    statistics of one domain would spoil another's.

    Args:
        channels: Channels of input and output.
        domains: Number of domains.
        kernels: Kernel sizes of the branches after the first.
    """

    def __init__(self, channels: int, domains: int = 1, kernels: Sequence[int] = (3, 5, 7)) -> None:
        super().__init__()
        self.branches = nn.ModuleList([RoutedChain([_conv(channels, channels, 1)], channels, domains)])
        for k in kernels:
            convs = [
                _conv(channels, channels, 1),
                _conv(channels, channels, (1, k)),
                _conv(channels, channels, (k, 1)),
                _conv(channels, channels, 3, dilation=k),
            ]
            self.branches.append(RoutedChain(convs, channels, domains))
        self.fuse = RoutedChain([_conv(channels * (1 + len(kernels)), channels, 3)], channels, domains)
        self.project = RoutedChain([_conv(channels, channels, 1)], channels, domains)

    def forward(self, x: Tensor, domain: int = 0) -> Tensor:
        """Map `(B, channels, H, W)` of one domain to the same shape."""
        branches = [branch(x, domain) for branch in self.branches]
        return F.relu(self.fuse(torch.cat(branches, dim=1), domain) + self.project(x, domain))


class RoutedChain(nn.Module):
    """Shared convolutions, each followed by a batch normalisation per domain."""

    def __init__(self, convs: Sequence[nn.Conv2d], channels: int, domains: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(batch_norms(domains, channels) for _ in convs)

    def forward(self, x: Tensor, domain: int) -> Tensor:
        """Apply the chain with the normalisations of `domain`."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), domain)
        return x


def _conv(in_channels: int, out_channels: int, kernel: int | tuple[int, int], dilation: int = 1) -> nn.Conv2d:
    """A bias-free convolution that keeps the extent."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding="same", dilation=dilation, bias=False)


def weights_by_name(
    network: nn.Module, weights: Mapping[str, Tensor], known: Sequence[str], names: Sequence[str]
) -> dict[str, Tensor]:
    """Bring what belongs to single domains into another order, and leave out the domains that are not wanted.

    Args:
        network: Where the weights are to go.
        weights: The state dict of such a network for other domains.
        known: Names of these domains. Where none of them is wanted, the order counts and nothing is changed.
        names: Names of the domains of `network`. One that is not known takes what stood at its place.
    """
    renamed = dict(weights)
    if not set(known) & set(names):
        return renamed
    places = [list(known).index(name) if name in known else number for number, name in enumerate(names)]
    for path in [path for path, module in network.named_modules() if isinstance(module, ByDomain)]:
        entries: dict[str, dict[str, Tensor]] = {}
        for name in [name for name in renamed if name.startswith(f"{path}.")]:
            number, dot, rest = name[len(path) + 1 :].partition(".")
            entries.setdefault(number, {})[dot + rest] = renamed[name]
        if len(entries) != len(known):
            continue  # one for all domains
        renamed = {name: value for name, value in renamed.items() if not name.startswith(f"{path}.")}
        for own, place in enumerate(places):
            renamed |= {f"{path}.{own}{rest}": value for rest, value in entries.get(str(place), {}).items()}
    return renamed
