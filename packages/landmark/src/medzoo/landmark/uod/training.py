"""How UOD trains: its networks by stage, the optimisers of both, and the labels of its own making."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.optim.schedules import adam_in_steps
from medzoo.core.runs.schema import check_field
from medzoo.landmark.labelling import label_training_images
from medzoo.landmark.pseudo import PseudoLabels
from medzoo.landmark.uod.network import DATR, UVGG

if TYPE_CHECKING:
    from medzoo.landmark.shots import Domains
    from medzoo.landmark.uod.module import UOD

Tables = dict[str, dict[str, Tensor]]
"""A tensor an image, by domain and image name."""
OwnLabels = tuple[int, Tables, Tables]
"""Epoch, points and scores."""


def detector(module: UOD, domains: Domains) -> DATR:
    """Make the network of stage 2.

    Args:
        module: The method, whose settings count.
        domains: Landmark names by domain.
    """
    h = module.hparams
    network = DATR(
        [len(names) for names in domains.values()],
        h["embed"], h["depths"], h["heads"], h["attention_window"], 1, h["drop_path"], h["layer_scale"],
        h["attention"], h["mlp"], h["residual"], h["checkpointing"],
    )  # fmt: skip
    return network.to(memory_format=torch.channels_last)


def matchers(module: UOD, domains: Domains) -> tuple[UVGG, UVGG | None]:
    """Make the networks of stage 1, for whole images and for patches; None where one serves both.

    Args:
        module: The method, whose settings count.
        domains: Landmark names by domain.
    """
    h = module.hparams
    networks = [
        UVGG(len(domains), 1, h["vgg_widths"], h["vgg_depths"], h["decoder_widths"], h["embedding"], h["vgg_norm"])
        for _ in range(1 if h["shared_network"] else 2)
    ]
    # This layout spares a CPU a fifth of the step's time (tiny widths) or more; values do not depend on it.
    networks = [network.to(memory_format=torch.channels_last) for network in networks]
    return networks[0], None if h["shared_network"] else networks[1]


def paper_optimizers(module: UOD, lr: float) -> OptimizerLRScheduler:
    """Return Adam with steps of 0.8 every 50 epochs in stage 1, and with a cycle of the rate in stage 2.

    Args:
        module: The method.
        lr: Learning rate; the least of the cycle.
    """
    if module.stage == "stage2":
        optimizer = torch.optim.Adam(module.parameters(), lr)
        cycle = torch.optim.lr_scheduler.CyclicLR(optimizer, lr, 10 * lr, 300, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
    return adam_in_steps(module, lr, (50, 0.8))


def relabel(module: UOD, begun: bool) -> PseudoLabels:
    """Label the training images with the model's own predictions.

    Args:
        module: The method, in stage 2.
        begun: The self-training has begun; before it, domains that are not rehearsed keep their labels.
    """
    assert module.labels is not None
    module.eval()
    own = label_training_images(module)
    module.train()
    kept = [] if begun else [n for i, n in enumerate(module.names) if i not in module.rehearsals.by_domain]
    own.points |= {name: module.labels.points[name] for name in kept}
    own.scores |= {name: module.labels.scores[name] for name in kept}
    return own


def own_labels(value: object) -> OwnLabels:
    """Return labels of a model's own making that a checkpoint holds.

    Raises:
        CheckpointError: They are not what was saved.
    """
    check_field("own_labels", _are_labels(value), "the labels that the first stage made")
    return cast(OwnLabels, value)


def _are_labels(made: object) -> bool:
    """Return whether a value is an epoch, points and scores, the latter by domain and image name."""
    if not isinstance(made, tuple | list) or len(made) != 3 or not isinstance(made[0], int):
        return False
    tables = [table for part in made[1:] if isinstance(part, dict) for table in part.values()]
    whole = isinstance(made[1], dict) and isinstance(made[2], dict) and made[1].keys() == made[2].keys()
    return whole and all(isinstance(t, dict) and all(isinstance(v, Tensor) for v in t.values()) for t in tables)
