"""The order of training images: shuffled, or with classes or groups drawn alike often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from medzoo.core.classifier.data.items import Item
from medzoo.core.errors import ConfigError
from medzoo.core.seeding import derive_seed

Order = Literal["shuffled", "class", "group", "group-class"]
ORDERS: tuple[Order, ...] = ("shuffled", "class", "group", "group-class")


def cells_of(items: Sequence[Item], order: Order, attribute: str | None) -> list[list[int]]:
    """Return the images of each class, of each group, or of each pair of both; an empty one is left out.

    An image with several labels is in the cell of each; one of unknown group is in none.

    Args:
        items: The training images.
        order: What is drawn alike often.
        attribute: Sensitive attribute whose groups are meant; None where the images have one only.

    Raises:
        ConfigError: The images have no such attribute, or several of which none is named.
    """
    name = _attribute(items, attribute) if order.startswith("group") else ""
    found: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(items):
        classes = (
            [item.label]
            if isinstance(item.label, int)
            else [c for c, value in enumerate(item.label or ()) if value == 1]
        )
        group = item.groups[name] if name else 0
        for label in classes if order.endswith("class") else [0]:
            if group >= 0:
                found.setdefault((group, label), []).append(index)
    return [found[key] for key in sorted(found)]


def _attribute(items: Sequence[Item], attribute: str | None) -> str:
    names = list(items[0].groups) if items else []
    if attribute in names or (attribute is None and len(names) == 1):
        return attribute or names[0]
    known = ", ".join(names) or "none"
    raise ConfigError(f"--data.order_by: expected a sensitive attribute of the images ({known}), got {attribute}")


def drawn_batches(
    cells: Sequence[Sequence[int]], number: int, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Draw the batches of one epoch with replacement: a cell at random, then an image of it.

    Args:
        cells: Images of each cell, none empty.
        number: Images of an epoch.
        batch_size: Images a batch; what is left over is not trained on, unless it is all there is.
        seed: Seed of the run.
        epoch: Epoch the order is drawn for.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, len(cells)))
    cell = torch.randint(len(cells), (number,), generator=generator).tolist()
    place = torch.rand(number, generator=generator, dtype=torch.float64).tolist()
    order = [cells[c][int(share * len(cells[c]))] for c, share in zip(cell, place, strict=True)]
    whole = max(batch_size, number // batch_size * batch_size)
    return [order[i : i + batch_size] for i in range(0, min(whole, number), batch_size)]
