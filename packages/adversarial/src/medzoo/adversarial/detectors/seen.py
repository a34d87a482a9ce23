"""What detectors look at: a classifier's logits, and the features of named layers averaged over space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medzoo.core.errors import ConfigError

_BATCH = 64


@dataclass(frozen=True)
class Seen:
    """Images with what a classifier makes of them.

    Attributes:
        images: `(N, C, *S)`.
        logits: `(N, K)`.
        pooled: Of each watched layer its features averaged over space, `(N, C_l)`, the input of the head last.
        labels: `(N,)` int64 true classes; empty where nobody needs them.
    """

    images: Tensor
    logits: Tensor
    pooled: tuple[Tensor, ...]
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """`(N,)` int64, the classes that the logits say."""
        return self.logits.argmax(dim=1)

    def __len__(self) -> int:
        return len(self.images)

    def at(self, rows: Tensor) -> Seen:
        """Return some of the images, chosen by number or by flag."""
        pooled = tuple(layer[rows] for layer in self.pooled)
        return Seen(
            self.images[rows], self.logits[rows], pooled, self.labels[rows] if len(self.labels) else self.labels
        )


def joined(parts: Sequence[Seen]) -> Seen:
    """Return the images of all parts in order."""
    return Seen(
        torch.cat([part.images for part in parts]),
        torch.cat([part.logits for part in parts]),
        tuple(torch.cat(layers) for layers in zip(*(part.pooled for part in parts), strict=True)),
        torch.cat([part.labels for part in parts]),
    )


class Watched:
    """A classifier whose layers are looked at while it answers.

    Args:
        classify: From images `(N, C, *S)` to logits `(N, K)`, with gradients.
        module: What `classify` runs; layers are found in it by name.
        layers: Names of modules, such as `layer1.0.act2`; None takes all activation modules.

    Raises:
        ConfigError: The module has no layer of a name, or no linear head.
    """

    def __init__(
        self, classify: Callable[[Tensor], Tensor], module: nn.Module, layers: Sequence[str] | None = None
    ) -> None:
        self.classify, self.module = classify, module
        self.widths: list[int] = []
        """Numbers of features of the layers and of the head's input, once something was looked at."""
        named = dict(module.named_modules())
        heads = [part for part in named.values() if isinstance(part, nn.Linear)]
        if not heads:
            raise ConfigError("victim: it has no linear head, whose input detectors look at; take another classifier")
        self.head = heads[-1]
        self.layers = tuple(activations(module) if layers is None else layers)
        missing = next((name for name in self.layers if name not in named), None)
        if missing is not None:
            known = ", ".join(activations(module)[:4])
            raise ConfigError(f"layers: the victim has no layer {missing!r}; it has {known}, …")
        if not self.layers:
            raise ConfigError("layers: the victim has no activation module; name the layers to look at")

    @contextmanager
    def _listening(self, heard: dict[str, Tensor]) -> Iterator[None]:
        named = dict(self.module.named_modules())

        def listen(name: str) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda module, given, found: heard.__setitem__(name, found)

        def listen_before(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            heard[""] = given[0]

        hooks = [named[name].register_forward_hook(listen(name)) for name in self.layers]
        hooks.append(self.head.register_forward_pre_hook(listen_before))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def maps(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits, and the features of each layer by name as they are, with gradients; "" is the head's input.

        A layer that runs several times in a pass gives what it gave last.
        """
        heard: dict[str, Tensor] = {}
        with self._listening(heard):
            logits = self.classify(images)
        silent = next((name for name in (*self.layers, "") if name not in heard), None)
        if silent is not None:
            raise ConfigError(f"layers: {silent or 'the head'} takes no part when the victim answers; name another")
        return logits, heard

    def look(self, images: Tensor, labels: Tensor | None = None) -> Seen:
        """Return logits and pooled features with gradients to the images."""
        logits, heard = self.maps(images)
        pooled = tuple(heard[name].flatten(2).mean(dim=2) if heard[name].ndim > 2 else heard[name]
                       for name in (*self.layers, ""))  # fmt: skip
        self.widths = [layer.shape[1] for layer in pooled]
        return Seen(images, logits, pooled, torch.empty(0, dtype=torch.int64) if labels is None else labels)

    @torch.no_grad()
    def look_at(self, images: Tensor, labels: Tensor) -> Seen:
        """Return the same without gradients, batch by batch, in the mode that the module is in."""
        parts = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
        return joined([self.look(*part) for part in parts])

    def flat(self, images: Tensor) -> Tensor:
        """Return logits and pooled features side by side, `(N, K + ΣC_l)`, which is what an attack can be given."""
        seen = self.look(images)
        return torch.cat([seen.logits, *seen.pooled], dim=1)

    def apart(self, outputs: Tensor) -> Seen:
        """Return what `flat` put side by side, without images."""
        sizes = self.widths
        logits, *pooled = outputs.split([outputs.shape[1] - sum(sizes), *sizes], dim=1)
        return Seen(outputs.new_empty(len(outputs), 0), logits, tuple(pooled), torch.empty(0, dtype=torch.int64))


def activations(module: nn.Module) -> list[str]:
    """Return the names of the activation modules, in the order in which the module holds them."""
    kinds = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.PReLU)
    return [name for name, part in module.named_modules() if isinstance(part, kinds)]
