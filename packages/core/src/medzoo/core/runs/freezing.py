"""`--freeze`: parts of a model that keep the weights that they start a training with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError


class FrozenParts(Callback):
    """Leave parts of a model as they are: no gradients, no change of weights, and no change of running statistics.

    The names go into the checkpoints, so that a training that is continued from one leaves the same parts alone.

    Args:
        names: Of modules, such as `net.encoder` or `encoder`; `backbone` also means a network of timm, see
            `parts_called`.

    Raises:
        ConfigError: The model has no such part with weights, or nothing is left to train.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._modules: list[nn.Module] = []
        self._hooks: list[RemovableHandle] = []

    def state_dict(self) -> dict[str, object]:
        """Return the names, where there are any."""
        return {"names": self.names} if self.names else {}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Add the names that the checkpoint's training had."""
        names = cast("list[str]", state_dict.get("names", []))  # the reader of checkpoints has looked at it
        self.names += [name for name in names if name not in self.names]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parts, once the networks are built and filled, and say how much is frozen."""
        if not self.names:
            return
        found = [part for name in self.names for part in parts_called(pl_module, name)]
        self._modules = [module for part in found for module in part.modules]
        # A method may set the mode within a step, such as one that attacks its own network.
        self._hooks = [module.register_forward_pre_hook(_rest) for module in self._modules]
        for part in found:
            for weight in part.weights:
                weight.requires_grad_(False)
        weights = list(pl_module.parameters())
        kept = sum(weight.numel() for weight in weights if not weight.requires_grad)
        if all(not weight.requires_grad for weight in weights):
            raise ConfigError(f"--freeze {','.join(self.names)}: nothing is left to train; freeze less")
        print_once(f"frozen: {', '.join(self.names)} ({kept:,} of {sum(w.numel() for w in weights):,} parameters)")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Keep the parts in evaluation mode, whatever a validation or the method itself left them in."""
        for module in self._modules:
            _rest(module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the model."""
        for hook in self._hooks:
            hook.remove()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Refuse a loss that no weight which is left to train could change."""
        if self.names and not loss.requires_grad:
            raise ConfigError(f"--freeze {','.join(self.names)}: the loss depends on frozen weights alone; freeze less")


def _rest(module: nn.Module, *inputs: object) -> None:
    module.training = False  # not eval(), which would reach what is not frozen below it


class Part(NamedTuple):
    """What is frozen together."""

    modules: list[nn.Module]
    weights: list[nn.Parameter]


def parts_called(model: nn.Module, name: str) -> list[Part]:
    """Return the parts of a model that a name means.

    They are the modules of that dotted name, or those whose dotted name ends with it, none within another; and where
    there are none, `backbone` means the networks of timm in the model, without the head of those that classify.

    Raises:
        ConfigError: There is none that has weights.
    """
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if (path == name or path.endswith(f".{name}")) and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = module
    parts = [Part(list(module.modules()), list(module.parameters())) for module in found.values()]
    if not found and name == "backbone":
        parts = [_without_head(module) for module in model.modules() if _is_backbone(module)]
    parts = [part for part in parts if part.weights]
    if not parts:
        known = [path for path, module in model.named_modules() if path.count(".") < 2 and _has_weights(module)]
        listed = ", ".join(path for path in known if path) or "none"
        raise ConfigError(f"--freeze {name}: the model has no part of this name with weights; it has {listed}")
    return parts


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_backbone(module: nn.Module) -> bool:
    return hasattr(module, "feature_info") or callable(getattr(module, "get_classifier", None))


def _without_head(network: nn.Module) -> Part:
    """Return what a network of timm has but for the layers that classify."""
    head = getattr(network, "get_classifier", nn.Identity)()
    heads = head if isinstance(head, tuple | list) else (head,)  # those that were distilled have two
    within = {id(module) for top in heads if isinstance(top, nn.Module) for module in top.modules()}
    modules = [module for module in network.modules() if id(module) not in within]
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    return Part(modules, weights)
