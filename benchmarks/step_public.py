"""Training steps of public implementations from a clone of their repository, for `benchmarks/step.py --public`.

Nothing of theirs is here or is copied: the clone's own networks and losses are imported from where it lies. What its
modules import and the step does not use (data sets, loggers, private libraries) is replaced by empty names, nothing is
downloaded, and classifiers of VGGs that no loss reaches are taken out.
"""

from __future__ import annotations

import ast
import importlib
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from step_empty import Empty, reach, script

Step = Callable[[dict[str, Any]], None]
HEAD, HAND, CHEST = 19, 37, 6


def _random_vgg(module: ModuleType) -> Callable[..., nn.Module]:
    """Return the clone's VGG19 with random weights, whatever it is asked for, without its classifier."""
    make = module.vgg19

    def vgg19(pretrained: bool = False) -> nn.Module:
        network: nn.Module = make(pretrained=False)
        network.classifier = nn.Identity()
        return network

    return vgg19


def _cells(feature: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the vectors `(B, C)` of a map `(B, C, H, W)` at one cell of each sample."""
    return feature[torch.arange(len(feature)), :, y, x]


def _adam(networks: Sequence[nn.Module], rate: float) -> Callable[[Tensor], None]:
    """Return what follows the loss: gradients, and a step of an Adam for each network, as the repositories have it."""
    optimizers = [torch.optim.Adam(network.parameters(), rate, weight_decay=1e-4) for network in networks]

    def update(loss: Tensor) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()

    return update


def _colour(batch: dict[str, Any]) -> Tensor:
    image: Tensor = batch["image"]
    return image.expand(-1, 3, -1, -1).contiguous()


def _crop(image: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a patch about the middle; return it, and its middle in pixels of the patch and of the image."""
    corner = (image.shape[-1] - side) // 2 // 32 * 32
    point = torch.full((len(image),), side // 2)
    return image[..., corner : corner + side, corner : corner + side], point, point + corner


def uod(root: Path) -> tuple[Step, list[nn.Module]]:
    """UOD's first stage: heqin-zhu/UOD_universal_oneshot_detection, `UOD/train_ssl.py`."""
    reach(root / "UOD", ["lib.datasets", "lib.utils", "test_ssl"])
    theirs = script(root / "UOD/train_ssl.py")
    uvgg = importlib.import_module("lib.networks.uvgg")
    uvgg.vgg19 = _random_vgg(importlib.import_module("lib.networks.base_vgg19"))  # type: ignore[attr-defined]
    networks = [uvgg.UVGG(3, non_local=True, emb_len=16, domain_num=1) for _ in range(2)]
    update = _adam(networks, 1e-5)

    def step(batch: dict[str, Any]) -> None:
        image = _colour(batch)
        patch, inside, point = _crop(image, 256)
        whole, part = (net(given, get_features=True)[1] for net, given in zip(networks, (image, patch), strict=True))
        loss = torch.zeros(())
        for level in range(5):
            stride = 2 ** (5 - level)
            template = _cells(part[level], inside // stride, inside // stride)
            cosines = theirs.match_inner_product(whole[level], template)
            near = None if level == 0 else 6
            loss = loss + theirs.ce_loss(cosines, point // stride, point // stride, nearby=near)
        update(loss)

    return step, networks


class _Taps(nn.Module):
    """A VGG whose attribute `features` gives what the clone's patched torch gave."""

    def __init__(self, vgg: nn.Module) -> None:
        super().__init__()
        self.vgg = vgg

    def features(self, image: Tensor, get_features: bool) -> Any:
        """Return the last map and those after each pooling."""
        return self.vgg(image, get_features=get_features)


def cc2d(root: Path) -> tuple[Step, list[nn.Module]]:
    """CC2D's first stage: MIRACLE-Center/Oneshot_landmark_detection, `code/cc2d-final/scripts_SSL/train.py`."""
    reach(root / "code/cc2d-final", ["datasets", "config", "utils", "scripts_SSL.test", "yamlloader"])
    theirs = importlib.import_module("scripts_SSL.train")
    models = importlib.import_module("models.network")
    models.vgg19 = _random_vgg(models)  # type: ignore[attr-defined]
    network = models.UNet_Pretrained(3, non_local=True, length_embedding=64)
    network.vgg = _Taps(network.vgg)
    update = _adam([network], 1e-3)
    options = Namespace(temprature=10, strength=0.07, clip=0.8)

    def step(batch: dict[str, Any]) -> None:
        image = _colour(batch)
        patch, inside, point = _crop(image, 192)
        whole, part = network(image), network(patch)
        loss = torch.zeros(())
        for level in range(5):
            stride = 2 ** (5 - level)
            template = _cells(part[level], inside // stride, inside // stride)
            logits = theirs.match_inner_product(whole[level], template) * options.temprature
            near = None if level == 0 else 11
            loss = loss + theirs.ce_loss(logits, point // stride, point // stride, nearby=near, args=options)
        update(loss)

    return step, [network]


def igu_aug(root: Path) -> tuple[Step, list[nn.Module]]:
    """IGU-Aug's matching: Curli-quan/IGU-Aug, `ssl/ssl.py`."""
    reach(root, ["tutils", "utils", "datasets"])
    theirs = script(root / "ssl/ssl.py")
    study = importlib.import_module("models.network_emb_study")
    study.vgg19 = _random_vgg(importlib.import_module("models.base_network"))  # type: ignore[attr-defined]
    networks = [study.UNet_Pretrained(3, non_local=True, emb_len=16), study.UNet_Pretrained(3, emb_len=16)]
    update = _adam(networks, 1e-4)

    def step(batch: dict[str, Any]) -> None:
        image = _colour(batch)
        patch, inside, point = _crop(image, 64)
        whole, part = networks[0](image), networks[1](patch)
        at, within = torch.stack([point, point], 1), torch.stack([inside, inside], 1)
        update(
            sum(theirs._tmp_loss_func(level, whole, part, at, within, 9 if level else None)[0] for level in range(5))
        )

    return step, networks


def gu2net(root: Path) -> tuple[Step, list[nn.Module]]:
    """GU2Net: MIRACLE-Center/YOLO_Universal_Anatomical_Landmark_Detection; its targets are made beforehand."""
    reach(root / "universal_landmark_detection", [])
    theirs = importlib.import_module("model.networks")
    points = [HEAD, HAND, CHEST]
    options = {"scale_factor": 0.25, "kernel_size": 3, "dilations": [1, 2, 5, 2, 1]}
    network = theirs.GLN(theirs.U2Net, {"in_channels": [1, 1, 1], "out_channels": points}, options)
    update, lost = _adam([network], 1e-4), nn.BCELoss(reduction="sum")
    targets: dict[tuple[int, ...], Tensor] = {}

    def step(batch: dict[str, Any]) -> None:
        image, domain = batch["image"], points.index(batch["landmarks"].shape[1])
        shape = (len(image), points[domain], *image.shape[2:])
        target = targets.setdefault(shape, torch.rand(shape).pow(8))
        update(lost(network(image, domain)["output"], target))

    return step, [network]


def _conv(config: object, *sizes: Any, **named: Any) -> nn.Module:
    return nn.Conv2d(*sizes, **named)


def _norm(config: object, channels: int, postfix: object = "") -> tuple[str, nn.Module]:
    return f"bn{postfix}", nn.BatchNorm2d(channels)


def _raise(config: object, **named: Any) -> nn.Module:
    return nn.ConvTranspose2d(**named)


class _Base(nn.Module):
    def __init__(self, init_cfg: object = None) -> None:
        super().__init__()


def han(root: Path) -> tuple[Step, list[nn.Module]]:
    """HAN for heads: ECNUACRush/HYATT-Net, `configs/ISBI2015_dataset`; its targets are made beforehand.

    Needs einops. mmcv 1.x is not needed: its builders are PyTorch's own layers here.
    """
    models = "mmpose.models"
    unused = ["core", "utils", "datasets", "models.builder", "models.backbones.utils"]
    layers = {"build_conv_layer": _conv, "build_norm_layer": _norm, "build_upsample_layer": _raise, "BaseModule": _Base}
    reach(
        root,
        ["mmcv", *(f"mmpose.{part}" for part in unused)],
        ModuleList=nn.ModuleList,
        Sequential=nn.Sequential,
        **layers,
    )
    for name in (
        "mmpose",
        models,
        *(f"{models}.{part}" for part in ("backbones", "necks", "heads", "losses", "utils")),
    ):
        package = Empty(name, {})  # without what its __init__ imports
        package.__path__ = [str(root / name.replace(".", "/"))]
        sys.modules[name] = package
    sys.modules[f"{models}.utils"].PatchEmbed_new = importlib.import_module(f"{models}.utils.embed").PatchEmbed_new  # type: ignore[attr-defined]
    sys.modules[f"{models}.builder"] = Empty(f"{models}.builder", {"build_loss": lambda config: config})
    found = [
        importlib.import_module(f"{models}.{part}")
        for part in ("backbones.Hybrid_Transformer_CNN", "necks.Deconv_fpn_neck", "losses.mse_loss")
    ]
    quarter, half, full = (
        importlib.import_module(f"{models}.heads.topdown_{part}")
        for part in ("convhead_heatmap", "distance_deconvhead", "globalhead_heatmap")
    )
    written = ast.parse((root / "configs/ISBI2015_dataset/ISBI2015_dataset.py").read_text())
    written.body = [line for line in written.body if ast.unparse(line).startswith(("channel_cfg =", "model ="))]
    config: dict[str, Any] = {}
    exec(compile(written, "config", "exec"), config)  # the rest of it is in mmcv's own language
    model = config["model"]

    def options(part: str) -> dict[str, Any]:
        return {name: value for name, value in model[part].items() if name != "type" and not name.startswith("loss")}

    losses = [found[2].JointsMSELoss(use_target_weight=True, loss_weight=weight) for weight in (1000, 3000, 3000)]
    network = nn.ModuleDict(
        {
            "backbone": found[0].HTC(**options("backbone")),
            "neck": found[1].Deconv_FPN_Neck(**options("neck")),
            "first": quarter.TopdownSimple_Heatmap_ConvHead(loss_keypoint=losses[0], **options("keypoint_head")),
            "second": half.TopdownSimple_Distance_DeConvHead(loss_keypoint_reg=losses[1], **options("distance_head")),
            "third": full.TopdownSimple_Heatmap_ConvHead_global(
                loss_keypoint=losses[2], **options("keypoint_head_global")
            ),
        }
    )
    optimizer = torch.optim.AdamW(network.parameters(), 4.5e-4, weight_decay=0.01)
    targets: list[Tensor] = []

    def step(batch: dict[str, Any]) -> None:
        image = _colour(batch)
        neck = network["neck"](network["backbone"](image))
        first = network["first"](neck)
        second, features = network["second"](neck)
        maps = first, second, network["third"](image, features, second)
        if not targets:
            targets.extend(torch.rand_like(found).pow(8) for found in maps)
        weight = torch.ones(len(image), HEAD, 1)
        optimizer.zero_grad()
        sum(lost(found, target, weight) for lost, found, target in zip(losses, maps, targets, strict=True)).backward()
        optimizer.step()

    return step, [network]


@dataclass(frozen=True)
class Pair:
    """A public step, and the options with which medzoo has the same network, sizes and batch."""

    make: Callable[[Path], tuple[Step, list[nn.Module]]]
    model: dict[str, Any]
    domains: tuple[str, ...] = ("head",)


PAIRS = {
    "uod": Pair(uod, {"stage": "stage1", "vgg_weights": None, "match_batch": 1}),
    "cc2d": Pair(
        cc2d,
        {
            "stage": "stage1",
            "vgg_weights": None,
            "loss": "v2",
            "embedding": 64,
            "window": 11,
            "patch": 192,
            "match_batch": 2,
        },
    ),
    "igu-aug": Pair(igu_aug, {"stage": "round1", "vgg_weights": None, "batch": 2}),
    "gu2net": Pair(gu2net, {"size": [256, 208], "batch": 2}, ("head", "hand", "chest")),
    "han": Pair(han, {"size": [608, 512], "batch": 1, "augment": 0.0}),
}
"""The sizes of the papers, but for small batches, and smaller images where a CPU would take minutes a step."""
