from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medzoo.anomaly.arnet.erase import grey, operations, turned
from medzoo.anomaly.arnet.losses import normalised_score
from medzoo.anomaly.arnet.module import ARNet
from medzoo.anomaly.arnet.network import RestoringUNet
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.anomaly import auroc


def silent(net: ARNet) -> ARNet:
    net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return net


def test_grey_is_the_mean_of_the_channels_whatever_their_order() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert grey(images).shape == (2, 1, 8, 8)
    assert torch.allclose(grey(images), grey(images[:, [2, 0, 1]]))
    same = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(grey(same), same[:, :1])  # of grey images nothing is erased


def test_four_quarter_turns_are_none() -> None:
    images = torch.rand(1, 3, 8, 8)
    found = images
    for _ in range(4):
        found = turned(90)(found)
    assert torch.equal(found, images)
    assert torch.equal(turned(270)(turned(90)(images)), images)
    assert [f(images).shape[1] for f in operations([0, 90], colour=True)] == [1, 1]
    assert torch.equal(operations([0, 90, 180], colour=False)[2](images), images.flip(-1, -2))  # each its own angle


def test_it_has_the_size_of_the_port() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in RestoringUNet().parameters()) == 13_395_840


def test_the_target_is_upright_whatever_the_operation() -> None:
    torch.manual_seed(0)
    net = silent(ARNet(size=16, width=2, mirror=False))
    asked: list[Tensor] = []
    net.net.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    net.net.register_forward_hook(lambda *_: image)
    image = torch.rand(64, 3, 16, 16)
    assert net.training_step({"image": image}, 0).item() == 0  # a perfect answer is the image itself
    turns = [f(image) for f in net.operations]
    kinds = {next(k for k, t in enumerate(turns) if torch.equal(t[i], asked[0][i])) for i in range(64)}
    assert kinds == {0, 1, 2, 3}


def test_training_images_score_1_on_average_and_operations_differ() -> None:
    torch.manual_seed(0)
    net = ARNet(size=16, width=4).eval()
    images = torch.rand(20, 3, 16, 16)
    with torch.no_grad():
        parts, maps = net.parts(images)
        again, _ = net.parts(images)
    norms = torch.stack([parts.mean(0), parts.std(0)])
    assert parts.shape == (20, 4)
    assert torch.equal(parts, again)
    assert (norms[0] > 0).all()
    assert len(set(norms[0].tolist())) == 4
    assert net.joined(parts, norms).mean().item() == pytest.approx(1, rel=1e-5)
    assert maps.shape == (20, 16, 16)
    assert normalised_score(torch.tensor([[1.0, 8.0]]), torch.tensor([1.0, 4.0])).tolist() == [1.5]


def test_a_test_takes_every_operation_of_every_image() -> None:
    net = ARNet(size=16, width=2, angles=[0, 180]).eval()
    seen: list[int] = []
    net.net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.no_grad():
        net.parts(torch.rand(3, 3, 16, 16))
    assert seen == [3, 3]


def ramps(count: int, upright: bool) -> Tensor:
    """Return images that grow brighter downwards, in any colour; abnormal ones grow darker."""
    y = torch.linspace(-1, 1, 16)[:, None].expand(16, 16)
    colour = 0.5 + 0.3 * (torch.rand(count, 3, 1, 1) - 0.5)
    clouds = torch.nn.functional.interpolate(torch.randn(count, 3, 4, 4), 16, mode="bilinear")
    return colour + 0.3 * (y if upright else -y) + 0.05 * clouds


def test_an_orientation_that_no_normal_image_has_is_found() -> None:
    torch.manual_seed(0)
    net = silent(ARNet(size=16, width=6, colour=False))
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        net.training_step({"image": ramps(16, upright=True)}, 0).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        known = net.parts(ramps(40, upright=True))[0]
        parts = net.parts(torch.cat([ramps(40, upright=True), ramps(40, upright=False)]))[0]
    scores = net.joined(parts, torch.stack([known.mean(0), known.std(0)]))
    assert auroc(scores, torch.arange(80) >= 40) > 0.9


def test_wrong_options_are_refused_in_one_line() -> None:
    for wrong, text in (
        ({"angles": [45]}, "angles.*45"),
        ({"angles": []}, "angles"),
        ({"size": [16, 32]}, "square"),
        ({"size": 20}, "multiples of 16"),
    ):
        with pytest.raises(ConfigError, match=text):
            ARNet(**{"width": 2, **wrong})
    assert ARNet(size=[16, 32], width=2, angles=[0, 180]).size == (16, 32)
