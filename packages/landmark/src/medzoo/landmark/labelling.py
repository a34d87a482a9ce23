"""Labelling the training images with a model's own predictions, for its next stage or its own next epochs."""

from __future__ import annotations

from pathlib import Path

import torch

from medzoo.core.geometry.points import to_original
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.pseudo import PseudoLabels


@torch.no_grad()
def label_training_images(method: LandmarkMethod) -> PseudoLabels:
    """Label all training images with predictions, the shots with their own labels; call it on every process.

    Args:
        method: With the trainer attached.
    """
    device = method.trainer.strategy.root_device
    method.to(device)
    labels = PseudoLabels(method.hparams["domains"])
    for batch in method.data.unlabelled_loader():
        name = batch["source"][0]
        found = method(batch["image"].to(device), method.index_of(name))
        labels.add(name, batch["id"], to_original(found.points.cpu(), batch["affine"]), found.scores)
    for domain, samples in zip(method.data.domains, method.data.shots(), strict=True):
        for shot in samples:
            one = torch.ones(1, len(shot["landmarks"]))
            labels.add(domain.name, [shot["id"]], shot["landmarks"][None], one)
    return labels.gathered()


def write_labels(method: LandmarkMethod, folder: Path, model: str) -> dict[str, object]:
    """Write `pseudo_labels.json` for the next stage and return its `__init__` arguments; see `Method.hand_over`.

    Args:
        method: With the trainer attached.
        folder: Folder of the finished stage.
        model: Name of the model on the command line.
    """
    # A matcher that was trained without any shot, to select by, finds nothing.
    if method.keeps_shots and not method.shots:
        return {}
    path = folder.resolve() / "pseudo_labels.json"
    labels = label_training_images(method)
    if method.trainer.is_global_zero:
        labels.write(path, {"model": model, "stage": method.stage, "epoch": method.trainer.current_epoch})
    method.trainer.strategy.barrier()
    return {"pseudo_labels": str(path), "domains": method.hparams["domains"]}
