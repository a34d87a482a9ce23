"""How UOD trains: its networks by stage, and the optimisers of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from medzoo.core.optim.schedules import adam_in_steps
from medzoo.landmark.uod.network import DATR, UVGG

if TYPE_CHECKING:
    from medzoo.landmark.shots import Domains
    from medzoo.landmark.uod.module import UOD


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
