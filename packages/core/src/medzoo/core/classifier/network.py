"""A classifier of timm that takes images in [0, 1]: what its weights expect of grey levels is part of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import timm
import torch
from torch import Tensor, nn

from medzoo.core.backbones.encoders import grey_weights

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, where timm has no others


class ClassifierNetwork(nn.Module):
    """A network of timm with random weights.

    Args:
        name: Such as `resnet18` or `convnext_tiny`.
        channels: Of the images.
        classes: Number of classes.
        size: Height and width of the images; networks of fixed size, such as ViTs, are made for it.
        dropout: Part of the features that the head drops in training.

    Raises:
        ValueError: timm has no such network, or it takes no images of that size.
    """

    def __init__(
        self, name: str, channels: int, classes: int, size: Sequence[int] = (224, 224), dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            close = timm.list_models(f"*{name.partition('_')[0]}*")[:3]
            raise ValueError(f"timm has no model {name!r}" + (f"; known are {', '.join(close)}" if close else ""))
        facts = timm.get_pretrained_cfg(name)
        fixed = {"img_size": tuple(size)} if facts is not None and facts.fixed_input_size else {}
        try:
            self.model: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=classes, in_chans=channels, drop_rate=dropout, **fixed
            )
        except (RuntimeError, AttributeError, TypeError, AssertionError, ValueError) as error:
            raise ValueError(f"{name} of timm takes no images of {tuple(size)}: {error}") from error
        mean, spread = (facts.mean, facts.std) if facts is not None else (_MEAN, _SPREAD)
        self.mean: Tensor
        self.spread: Tensor
        for key, values in (("mean", mean), ("spread", spread)):
            of_each = values if channels == len(values) else [sum(values) / len(values)] * channels
            self.register_buffer(key, torch.tensor(of_each).reshape(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, classes)` of images `(B, C, H, W)` in [0, 1]."""
        logits: Tensor = self.model((image - self.mean) / self.spread)
        return logits

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the weights of the same timm network, learnt on other classes: all but the head is taken.

        Raises:
            ValueError: A weight is missing or has another shape.
        """
        head = getattr(self.model, "get_classifier")()  # noqa: B009 - a method that torch's Module does not declare
        heads = {id(parameter) for parameter in head.parameters()}
        parameters = dict(self.model.named_parameters())
        chosen = self.model.state_dict()
        for name, value in chosen.items():
            source = weights.get(name)
            if source is not None and source.ndim == 4 and source.shape != value.shape:
                source = grey_weights(source, value.shape[1])
            if source is not None and source.shape == value.shape:
                chosen[name] = source
            elif id(parameters.get(name)) not in heads:
                raise ValueError(f"{name} is missing or of another shape; give the weights of the same timm model")
        self.model.load_state_dict(chosen)
