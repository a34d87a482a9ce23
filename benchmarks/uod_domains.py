"""How much does UOD depend on being told the right domain? `python benchmarks/uod_domains.py RUN_FOLDER`.

Tests the final detector of a run on its own test images with every combination of the domain an image is of and the
domain that the model is told. Where two domains have different numbers of landmarks, the first ones are compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml

from medzoo.core import create_datamodule, load_checkpoint
from medzoo.core.geometry.points import to_original
from medzoo.core.registry import specs


def mean_error(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]], told: int) -> float:
    """Mean radial error in the domain's unit over the batches of one domain."""
    errors = []
    for batch in batches:
        with torch.no_grad():
            points = model(batch["image"], told).points
        original = to_original(points, batch["affine"])
        count = min(original.shape[1], batch["landmarks"].shape[1])
        away = (original[:, :count] - batch["landmarks"][:, :count]) * batch["scale"][:, None]
        errors.append(away.norm(dim=2)[batch["visible"][:, :count]])
    return float(torch.cat(errors).mean())


def main() -> None:
    """Print a table: rows are the images' domains, columns what the model is told."""
    folder = Path(sys.argv[1])
    config = yaml.safe_load((folder / "config.yaml").read_text())["data"]
    name = next(s.name for s in specs("datamodule") if s.class_path == config["class_path"])
    model = load_checkpoint(folder / "checkpoints/last.ckpt")
    data = create_datamodule(name, **{**config["init_args"], "size": list(model.input_size)})
    batches: dict[int, list[dict[str, torch.Tensor]]] = {}
    for batch in data.test_dataloader():
        batches.setdefault(int(batch["domain"][0]), []).append(batch)
    print("images of | " + " | ".join(f"told {d.name}" for d in data.domains) + " | wrong / right")
    print("|".join(["---"] * (len(data.domains) + 2)))
    for index, domain in enumerate(data.domains):
        row = [mean_error(model, batches[index], told) for told in range(len(data.domains))]
        wrong = [e for told, e in enumerate(row) if told != index]
        ratio = sum(wrong) / len(wrong) / row[index]
        print(f"{domain.name} ({domain.unit}) | " + " | ".join(f"{e:.1f}" for e in row) + f" | {ratio:.1f}")


if __name__ == "__main__":
    main()
