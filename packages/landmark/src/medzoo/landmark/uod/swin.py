"""The encoder of DATR: a Swin transformer whose queries, scales and MLPs may be per domain (arXiv 2306.07615 §2.2).

Patch embedding, patch merging, MLP, windows and position index are timm's; the blocks are written anew because every
call needs the domain. Weights of timm's Swin models load with `load_swin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, PatchEmbed, trunc_normal_
from timm.models.swin_transformer import PatchMerging, get_relative_position_index, window_partition, window_reverse
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medzoo.core.backbones.encoders import grey_weights
from medzoo.landmark.networks.routing import PerDomain, ScalesByDomain

AttentionMode = Literal["query", "origin"]
"""Whether each domain has its own query projection."""
MLPMode = Literal["domain", "shared"]
"""Whether each domain has its own MLPs."""
Residual = Literal["outer", "inner"]
"""Where the skip connection around the MLP joins: outside the domain's scale, or inside as in the public code."""


class AdaptiveAttention(nn.Module):
    """Windowed self-attention with relative position bias; the query projection is per domain in `"query"` mode."""

    def __init__(self, dim: int, heads: int, window: int, domains: int, mode: AttentionMode) -> None:
        super().__init__()
        if mode not in ("query", "origin"):
            raise ValueError(f"attention: expected 'query' or 'origin', got {mode!r}")
        self.heads = heads
        self.routed = mode == "query"
        self.query = PerDomain(nn.Linear(dim, dim) for _ in range(domains if self.routed else 1))
        self.key_value = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("index", get_relative_position_index(window, window), persistent=False)
        self.index: Tensor

    def forward(self, x: Tensor, domain: int, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            x: `(N, T, dim)`, T tokens of each of N windows.
            domain: Index of the domain.
            mask: `(n, T, T)` added to the scores of the n windows of an image, or None.
        """
        N, T, C = x.shape
        split = (N, T, self.heads, C // self.heads)
        q = self.query(x, domain if self.routed else 0).view(split).transpose(1, 2)
        k, v = (part.view(split).transpose(1, 2) for part in self.key_value(x).chunk(2, dim=-1))
        bias = self.bias_table[self.index.view(-1)].view(T, T, -1).permute(2, 0, 1)[None]  # (1, heads, T, T)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(N // len(mask), 1, 1, 1)  # windows of an image vary fastest
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        projected: Tensor = self.project(out.transpose(1, 2).reshape(N, T, C))
        return projected


class AdaptiveBlock(nn.Module):
    r"""Domain-adaptive transformer block.

    $x \leftarrow x + \gamma_1^d \odot \mathrm{Attn}_d(\mathrm{LN}(x))$, then
    $x \leftarrow x + \gamma_2^d \odot \mathrm{MLP}_d(\mathrm{LN}(x))$, each branch under stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        shift: int,
        domains: int,
        drop_path: float,
        layer_scale: float | None,
        attention: AttentionMode,
        mlp: MLPMode,
        residual: Residual,
    ) -> None:
        super().__init__()
        self.window, self.shift, self.residual = window, shift, residual
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = AdaptiveAttention(dim, heads, window, domains, attention)
        self.mlp = PerDomain(Mlp(dim, 4 * dim) for _ in range(domains if mlp == "domain" else 1))
        self.drop1, self.drop2 = DropPath(drop_path), DropPath(drop_path)
        scale = 1.0 if layer_scale is None else layer_scale
        self.gamma1, self.gamma2 = (
            ScalesByDomain(
                nn.Parameter(torch.full((dim,), scale), requires_grad=layer_scale is not None) for _ in range(domains)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, domain: int) -> Tensor:
        """Map tokens `(B, H, W, dim)` of one domain to the same shape."""
        x = x + self.drop1(self.gamma1[domain] * self._attend(self.norm1(x), domain))
        branch = self.mlp(self.norm2(x), domain % len(self.mlp))
        inner = self.residual == "inner"
        scaled: Tensor = self.drop2(self.gamma2[domain] * (x + branch if inner else branch))
        return scaled if inner else x + scaled

    def _attend(self, x: Tensor, domain: int) -> Tensor:
        """Fill up to whole windows, shift, cut, attend, and put together again.

        The filling comes before the shift, as in the public code: rows that wrap around then lie behind it, where the
        mask keeps them apart. timm shifts first, so that opposite borders meet where a side needs filling.
        """
        _, H, W, C = x.shape
        w, s = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -W % w, 0, -H % w))
        Hp, Wp = x.shape[1:3]
        if s:
            x = torch.roll(x, (-s, -s), dims=(1, 2))
        windows = window_partition(x, (w, w)).view(-1, w * w, C)
        windows = self.attention(windows, domain, shift_mask(Hp, Wp, w, s, x.device) if s else None)
        out: Tensor = window_reverse(windows.view(-1, w, w, C), (w, w), Hp, Wp)
        if s:
            out = torch.roll(out, (s, s), dims=(1, 2))
        return out[:, :H, :W]


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Scores `(windows, T, T)` that keep tokens apart which only the cyclic shift made neighbours: 0 or −100.

    Args:
        height: Rows of the map, a multiple of `window`.
        width: Columns of the map, a multiple of `window`.
        window: Side of the windows.
        shift: Rows and columns by which the map was rolled, at least 1.
        device: Where the scores are to be.
    """
    labels = []
    for extent in (height, width):
        position = torch.arange(extent, device=device)
        # Rows that wrapped around form a region of their own; the last window is where both kinds meet.
        labels.append((position >= extent - window).long() + (position >= extent - shift).long())
    regions = (3 * labels[0][:, None] + labels[1]).float()[None, :, :, None]
    flat = window_partition(regions, (window, window)).view(-1, window * window)
    apart: Tensor = (flat[:, None] != flat[:, :, None]).float()
    return apart * -100.0


class AdaptiveSwin(nn.Module):
    """Swin transformer with domain-adaptive blocks; gives the normalised features of its four stages.

    Args: see `medzoo.landmark.uod.network.DATR`.
    """

    def __init__(
        self,
        domains: int,
        embed: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 7,
        in_channels: int = 3,
        drop_path: float = 0.5,
        layer_scale: float | None = 1e-4,
        attention: AttentionMode = "query",
        mlp: MLPMode = "domain",
        residual: Residual = "outer",
        patch: int = 4,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(depths) != len(heads):
            raise ValueError(f"depths and heads: expected equal lengths, got {len(depths)} and {len(heads)}")
        self.checkpointing = checkpointing
        self.widths = [embed * 2**i for i in range(len(depths))]
        self.patch_embed = PatchEmbed(
            None, patch, in_channels, embed, flatten=False, output_fmt="NHWC", norm_layer=nn.LayerNorm,
            dynamic_img_pad=True,
        )  # fmt: skip
        rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        self.merges, self.stages, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (width, depth) in enumerate(zip(self.widths, depths, strict=True)):
            self.merges.append(PatchMerging(width // 2) if i else nn.Identity())
            self.stages.append(
                nn.ModuleList(
                    AdaptiveBlock(
                        width, heads[i], window, window // 2 * (j % 2), domains, rates[sum(depths[:i]) + j],
                        layer_scale, attention, mlp, residual,
                    )
                    for j in range(depth)
                )
            )  # fmt: skip
            self.norms.append(nn.LayerNorm(width))
        self.apply(_initialise)

    def forward(self, image: Tensor, domain: int, normalise: bool = True) -> list[Tensor]:
        """Return the features of the stages, finest first.

        Args:
            image: `(B, in_channels, H, W)`.
            domain: Index of the domain.
            normalise: Apply the layer norm that each stage's output has of its own.

        Returns:
            Maps `(B, widths[i], H / (patch·2^i), W / (patch·2^i))`.
        """
        x = self.patch_embed(image)
        features = []
        for merge, stage, norm in zip(self.merges, self.stages, self.norms, strict=True):
            x = merge(x)
            for block in cast(nn.ModuleList, stage):
                if self.checkpointing and self.training:
                    x = checkpoint(block, x, domain, use_reentrant=False)
                else:
                    x = block(x, domain)
            features.append((norm(x) if normalise else x).permute(0, 3, 1, 2).contiguous())
        return features


def _initialise(module: nn.Module) -> None:
    """Swin's own initialisation: small normal weights, no bias."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def load_swin(encoder: AdaptiveSwin, weights: Mapping[str, Tensor]) -> None:
    """Copy weights of a timm Swin model into every domain of `encoder`.

    The packed projection is split into query, key and value; the query and the MLPs go to all domains. Layer scales and
    the norms of the stages' outputs, which timm's model does not have, keep their values.

    Args:
        encoder: The network to fill, of the same widths, depths and window.
        weights: State dict of a timm `SwinTransformer`; classifier and final norm are ignored.

    Raises:
        ValueError: A weight is missing or has another shape.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        renamed.update(_rename(name, value, encoder))
    own = encoder.state_dict()
    first = "patch_embed.proj.weight"
    if first in renamed:
        renamed[first] = grey_weights(renamed[first], own[first].shape[1])
    wanted = {name for name in own if "gamma" not in name and not name.startswith("norms.")}
    wrong = sorted(n for n in wanted if n not in renamed or renamed[n].shape != own[n].shape)
    if wrong:
        raise ValueError(
            f"weights: {len(wrong)} of {len(wanted)} parameters are missing or of another shape, such as {wrong[0]}; "
            "give the weights of a Swin model of the same widths, depths and window"
        )
    encoder.load_state_dict({**own, **{n: renamed[n] for n in wanted}})


def _rename(name: str, value: Tensor, encoder: AdaptiveSwin) -> dict[str, Tensor]:
    """Names in `AdaptiveSwin` that a weight of timm's Swin model has to fill."""
    parts = name.split(".")
    if parts[0] == "patch_embed":
        return {name: value}
    if parts[0] != "layers":
        return {}
    stage, rest = parts[1], parts[2:]
    if rest[0] == "downsample":
        return {f"merges.{stage}.{'.'.join(rest[1:])}": value}
    block = f"stages.{stage}.{rest[1]}"
    kind, tail = rest[2], ".".join(rest[3:])
    first = cast(AdaptiveBlock, cast(nn.ModuleList, encoder.stages[int(stage)])[int(rest[1])])
    if kind == "mlp":
        return {f"{block}.mlp.{d}.{tail}": value for d in range(len(first.mlp))}
    if kind == "attn":
        if tail == "relative_position_bias_table":
            return {f"{block}.attention.bias_table": value}
        layer, _, leaf = tail.partition(".")
        if layer == "proj":
            return {f"{block}.attention.project.{leaf}": value}
        if layer == "qkv":
            query, key_value = value.split([len(value) // 3, 2 * len(value) // 3])
            names = {f"{block}.attention.query.{d}.{leaf}": query for d in range(len(first.attention.query))}
            return {**names, f"{block}.attention.key_value.{leaf}": key_value}
        return {}
    return {f"{block}.{kind}.{tail}": value}
