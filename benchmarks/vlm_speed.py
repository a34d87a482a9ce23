"""Training steps of CARZero here and in its public code, by turns: images a second of processor time.

    git clone https://github.com/laihaoran/CARZero && git -C CARZero checkout fa4e09c
    python benchmarks/vlm_speed.py --public CARZero --sizes quick

Both sides have the same image network, the same BERT, the same sizes, sentences, loss (one sentence an image, all
others of the batch wrong), head and optimiser. From the public code come the fusion with its loss, and the loop
that adds up the pieces of words; its texts are filled up to 97 pieces, as there, and are cut into pieces beforehand,
which medzoo does within the step. What the public code imports and none of this uses (ipdb, transformers) is left out
where it is not installed. Figures are medians over rounds; the ratio within one run is the result.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from medzoo.vlm.carzero.module import CARZero
from medzoo.vlm.data.phantoms import ReportPhantoms

WORDS = 97
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"backbone": "test_efficientnet", "size": 64, "stride": 8, "width": 64, "text_layers": 2, "inner": 128,
              "layers": 2, "batch": 48},
    "middle": {"backbone": "vit_tiny_patch16_224", "size": 112, "width": 192, "text_layers": 6, "inner": 256,
               "layers": 4, "batch": 32},
    "paper": {"backbone": "vit_base_patch16_224", "size": 224, "width": 768, "text_layers": 12, "inner": 1024,
              "layers": 4, "batch": 8},
}  # fmt: skip
"""`paper` has the published sizes but for the batch, which is 64 to 256 there."""


def public_parts(folder: Path) -> dict[str, Any]:
    """Return the classes of the public code by name."""
    for name, members in (("ipdb", ()), ("transformers", ("AutoModel", "AutoTokenizer", "BertConfig"))):
        try:
            importlib.import_module(name)
        except ImportError:
            stub = ModuleType(name)
            for member in members:
                setattr(stub, member, object)
            sys.modules[name] = stub
    for name, place in (("public", folder / "CARZero"), ("public.models", folder / "CARZero/models")):
        package = ModuleType(name)
        package.__path__ = [str(place)]  # its own __init__ imports what is not needed here
        sys.modules[name] = package
    sys.path.insert(0, str(folder / "CARZero/loss"))
    return {
        "mlp": importlib.import_module("public.models.dqn_wo_self_atten_mlp").TQN_Model,
        "linear": importlib.import_module("public.models.dqn_wo_self_atten").TQN_Model,
        "text": importlib.import_module("public.models.text_model").BertEncoder,
        "loss": importlib.import_module("dqn_cos_loss").DQNCOSLoss,
    }


class Public(nn.Module):
    """The public code's training step on the encoders of medzoo."""

    def __init__(self, folder: Path, ours: CARZero) -> None:
        super().__init__()
        found, h = public_parts(folder), ours.hparams
        assert ours.text is not None
        assert ours.tokenizer is not None
        fusion = SimpleNamespace(d_model=h["width"], class_num=1, decoder_number_layer=h["layers"])
        self.fusion = found[h["head"]](SimpleNamespace(model=SimpleNamespace(fusion=fusion)))
        for layer in self.fusion.decoder.layers:  # its width is fixed at the paper's
            layer.linear1, layer.linear2 = nn.Linear(h["width"], h["inner"]), nn.Linear(h["inner"], h["width"])
        self.image, self.bert, self.loss, self.last = ours.image, ours.text.bert, found["loss"](), ours.text.last
        self.joined = SimpleNamespace(idxtoword=dict(enumerate(ours.tokenizer.vocabulary)))
        self.join = found["text"].aggregate_tokens

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        """Return the loss of images `(B, 1, H, W)` and texts `(B, 97)`."""
        seen = self.image(image)
        states = torch.stack(self.bert(ids, ids != 0)[-self.last :]).permute(1, 0, 2, 3)
        words, _ = self.join(self.joined, states, ids)
        whole, words = words.mean(2).sum(1), words.sum(1)
        first = self.fusion(torch.cat([seen.globals[:, None], seen.tokens], 1), whole).squeeze(-1)
        second = self.fusion(torch.cat([whole[:, None], words], 1), seen.globals).squeeze(-1)
        loss: Tensor = self.loss(first) + self.loss(second)
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path, required=True, help="folder of the public code")
    parser.add_argument("--sizes", choices=list(SIZES), default="quick")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--head", choices=["mlp", "linear"], default="mlp", help="as released, or as in the paper")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of either side in a round")
    options = parser.parse_args()
    torch.manual_seed(0)
    sizes = SIZES[options.sizes] | ({"batch": options.batch} if options.batch else {})
    model = CARZero(fit="stretch", zoom=1.0, words=WORDS, head=options.head, targets="diagonal", sentences=1, **sizes)
    pixels, count = sizes["size"], sizes["batch"]
    data = ReportPhantoms(train=count, val=2, test=2, pixels=pixels, size=pixels, batch_size=count)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_steps=1, limit_val_batches=0, enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data)  # makes the vocabulary, and takes a step
    setattr(model, "log", lambda *_: None)  # noqa: B010 - there is no run to log for
    batch = next(iter(data.train_dataloader()))
    public = Public(options.public, model)
    assert model.tokenizer is not None
    ids = model.tokenizer([own[0] for own in batch["captions"]], WORDS).ids
    ids = nn.functional.pad(ids, (0, WORDS - ids.shape[1]))
    jobs: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "medzoo": (model, lambda: model.training_step(batch, 0)),
        "public": (public, lambda: public(batch["image"], ids)),
    }
    optimisers = {n: torch.optim.Adam(module.parameters(), 5e-5) for n, (module, _) in jobs.items()}
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(options.rounds + 1):
        for name, (module, step) in jobs.items():
            module.train()
            start = time.process_time()
            for _ in range(options.steps):
                optimisers[name].zero_grad()
                step().backward()
                nn.utils.clip_grad_norm_(module.parameters(), 0.25)
                optimisers[name].step()
            if number:  # the first round warms up
                speeds[name].append(count * options.steps / (time.process_time() - start))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    shown = ", ".join(f"{n} {m:.2f} ({min(speeds[n]):.2f} to {max(speeds[n]):.2f})" for n, m in medians.items())
    ratios = [mine / theirs for mine, theirs in zip(speeds["medzoo"], speeds["public"], strict=True)]
    print(f"{options.sizes}, {options.head} head, {count} images a batch, images a second: {shown}")
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) over {len(ratios)} rounds")


if __name__ == "__main__":
    main()
