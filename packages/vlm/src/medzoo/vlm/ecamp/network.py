"""ECAMP's networks: a masked autoencoder, its super-resolution, and a BERT that sees the patches that are left."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import timm
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from medzoo.vlm.dropout import Dropout
from medzoo.vlm.images import sin_cos, sin_cos_table, vision_transformer
from medzoo.vlm.text.bert import Bert, BertSize

SHRINK = 0.02


class Rebuilt(NamedTuple):
    """What was made of images of which patches are hidden.

    Attributes:
        latent: `(B, 1 + visible, d)`, class token and visible patches.
        patches: `(B, P, p)`, pixels of all patches.
        image: `(B, 3, H, W)`, the same as an image.
        sharp: `(B, 3, 2H, 2W)`, its super-resolution.
    """

    latent: Tensor
    patches: Tensor
    image: Tensor
    sharp: Tensor


class Autoencoder(nn.Module):
    """A vision transformer of timm that sees some patches, and a decoder that rebuilds all (MAE; ECAMP, section 3.3).

    Args:
        name: Of the transformer, with a class token.
        size: Height and width of the images.
        width: Of the decoder.
        layers: Of the decoder.
        heads: Of the decoder.
        final_relu: Cut off what is negative at the end of the super-resolution, as in the public code.

    Raises:
        ValueError: timm has no such transformer, or it cannot be masked.
    """

    positions: Tensor

    def __init__(
        self, name: str, size: tuple[int, int], width: int = 512, layers: int = 4, heads: int = 16,
        final_relu: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vit: Any = vision_transformer(name, size) if timm.is_model(name) else None
        if self.vit is None:
            raise ValueError(f"expected a vision transformer of timm, such as vit_base_patch16_224, got {name!r}")
        if self.vit.num_prefix_tokens != 1 or self.vit.cls_token is None:
            raise ValueError(f"{name} has not one class token")
        self.grid: tuple[int, int] = tuple(self.vit.patch_embed.grid_size)
        self.patch: tuple[int, int] = tuple(self.vit.patch_embed.patch_size)
        sin_cos(self.vit, self.grid)
        self.into = nn.Linear(self.vit.embed_dim, width)
        self.unseen = nn.Parameter(SHRINK * torch.randn(width))
        self.register_buffer("positions", sin_cos_table(width, self.grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, self.patch[0] * self.patch[1] * 3)
        self.sharpen = SuperResolution(final_relu)

    def forward(self, image: Tensor, kept: Tensor) -> Rebuilt:
        """Rebuild images.

        Args:
            image: `(B, 3, H, W)`.
            kept: `(B, visible)` int64, places of the patches that are seen.
        """
        vit = self.vit
        tokens = vit.patch_embed(image).flatten(1, -2) + vit.pos_embed[:, 1:]
        seen = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(image), -1, -1)
        latent = vit.norm(vit.blocks(torch.cat([first, seen], 1)))
        state = self.into(latent)
        whole = self.unseen.expand(len(image), len(self.positions), -1)
        whole = whole.scatter(1, kept[..., None].expand(-1, -1, state.shape[2]), state[:, 1:]) + self.positions
        state = torch.cat([state[:, :1], whole], 1)
        for block in self.blocks:
            state = block(state)
        patches = self.pixels(self.norm(state))[:, 1:]
        rebuilt = self.to_image(patches)
        return Rebuilt(latent, patches, rebuilt, self.sharpen(rebuilt))

    def to_patches(self, image: Tensor) -> Tensor:
        """Return the pixels of patches `(B, P, p)` of images `(B, 3, H, W)`."""
        return functional.unfold(image, self.patch, stride=self.patch).transpose(1, 2)

    def to_image(self, patches: Tensor) -> Tensor:
        """Return images `(B, 3, H, W)` of the pixels of patches."""
        size = (self.grid[0] * self.patch[0], self.grid[1] * self.patch[1])
        return functional.fold(patches.transpose(1, 2), size, self.patch, stride=self.patch)


class SuperResolution(nn.Module):
    """Twice the size: a bilinear one, and two convolutions that add to it (168 parameters).

    Args:
        final_relu: Cut off what is negative, which of normalised grey levels is the darker half.
    """

    def __init__(self, final_relu: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.final_relu = final_relu

    def forward(self, image: Tensor) -> Tensor:
        """Return `(B, 3, 2H, 2W)` of `(B, 3, H, W)`."""
        large = functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
        found: Tensor = large + self.second(self.first(large).relu())
        return found.relu() if self.final_relu else found


class Reader(nn.Module):
    """A BERT that fills in hidden words, with what the visible patches show (multi-scale context fusion).

    Behind the embeddings one layer lets words look at each other, then at the patches; the mean patch is added to all.

    Args:
        size: Of the BERT.
        patches: Width of the image network.
    """

    def __init__(self, size: BertSize, patches: int) -> None:
        super().__init__()
        self.bert = Bert(size)
        self.bridge = nn.Linear(patches, size.width)
        self.words, self.look = _Attention(size), _Attention(size)
        self.mean = nn.Linear(size.width, size.width)
        self.feed = Mlp(size.width, size.inner)
        self.norms = nn.ModuleList(nn.LayerNorm(size.width, eps=1e-12) for _ in range(3))
        self.dropout = Dropout(size.dropout)
        self.transform = nn.Linear(size.width, size.width)
        self.last = nn.LayerNorm(size.width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(size.vocabulary))

    def forward(self, ids: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `(B, T, V)` of all pieces, and how each looks at the visible patches, `(B, T, visible)`.

        Args:
            ids: `(B, T)` int64, pieces of which some are hidden; padding is attended to, as in the public code.
            latent: `(B, 1 + visible, d)`, of the image network.
        """
        table = self.bert.embeddings.word_embeddings
        state = self.bert.embeddings(table(ids))
        patches = self.bridge(latent[:, 1:])
        said, _ = self.words(state, state)
        state = self.norms[0](state + self.dropout(said))
        shown, attention = self.look(state, patches)
        seen = self.dropout(shown + self.mean(patches.mean(1, keepdim=True)))
        state = self.norms[1](state + seen)
        state = self.norms[2](state + self.dropout(self.feed(state)))
        mask = torch.ones_like(ids, dtype=torch.bool)[:, None, None, :]
        for layer in cast(nn.ModuleList, self.bert.encoder.layer):
            state = layer(state, mask)
        state = self.last(functional.gelu(self.transform(state)))
        return functional.linear(state, table.weight, self.bias), attention


class _Attention(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value, self.out = (nn.Linear(size.width, size.width) for _ in range(4))

    def forward(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each state sees in a memory, and its attention averaged over the heads."""
        query, key, value = (
            part(of).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, of in ((self.query, state), (self.key, memory), (self.value, memory))
        )
        weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights.mean(1)


def draw_kept(patches: int, ratio: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of visible patches `(B, visible)`, in their order, and which are hidden, `(B, P)` bool.

    Args:
        patches: P.
        ratio: Share that is hidden.
        noise: `(B, P)`; the patches of the smallest values are kept.
    """
    kept = noise.argsort(dim=1)[:, : max(1, round(patches * (1 - ratio)))].sort(dim=1).values
    mask = torch.ones_like(noise, dtype=torch.bool).scatter(1, kept, False)
    return kept, mask


def window_about(looked: Tensor, kept: Tensor, grid: tuple[int, int], inner: tuple[int, int]) -> Tensor:
    """Return the first row and column `(B, 2)` of the window nearest to what is looked at.

    ECAMP reads such windows from a file made by another model's attention, which is not public; here it is the reader's
    own (reconstructed).

    Args:
        looked: `(B, visible)`, how much each visible patch is looked at.
        kept: `(B, visible)` int64, their places.
        grid: Rows and columns of patches.
        inner: Those of the window.
    """
    at = torch.stack([kept // grid[1], kept % grid[1]], 2).to(looked)
    middle = (looked[..., None] * at).sum(1) / looked.sum(1, keepdim=True)
    half = torch.tensor([(side - 1) / 2 for side in inner], device=kept.device, dtype=looked.dtype)
    free = torch.tensor([side - own for side, own in zip(grid, inner, strict=True)], device=kept.device)
    return torch.minimum((middle - half).round().clamp_min(0).long(), free)
