from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from medzoo.landmark.heatmap.network import HeatmapNetwork
from medzoo.landmark.networks.routing import RoutedNorm, route_norms


def network(backbone: str = "unet") -> HeatmapNetwork:
    torch.manual_seed(0)
    return HeatmapNetwork((3, 4), backbone, width=4, decoder_width=8)


@pytest.mark.parametrize("backbone", ["unet", "hrnet_w18_small", "convnext_atto", "resnet10t"])
def test_there_is_a_map_per_landmark_at_input_size(backbone: str) -> None:
    net = network(backbone).eval()
    for domain, count in enumerate((3, 4)):
        assert net(torch.rand(2, 1, 64, 96), domain).shape == (2, count, 64, 96)


def test_parameter_counts_are_those_of_a_unet_of_these_widths() -> None:
    with torch.device("meta"):  # only the counts matter
        net = HeatmapNetwork((19,))
    channels = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 512)]  # encoder
    channels += [(512 + 512, 256), (256 + 256, 256), (256 + 128, 128), (128 + 64, 64)]  # decoder, at most 256
    convolutions = sum(9 * (a * b + b * b) + 2 * 3 * b for a, b in channels)  # with biases and normalisations
    assert sum(p.numel() for p in net.parameters()) == convolutions + 64 * 19 + 19 == 14_871_059


def test_a_unet_takes_any_size() -> None:
    assert network().eval()(torch.rand(1, 1, 50, 37), 0).shape == (1, 3, 50, 37)


@pytest.mark.parametrize("backbone", ["unet", "resnet10t"])
def test_domains_share_convolutions_but_no_statistics(backbone: str) -> None:
    net = network(backbone)
    net(torch.rand(2, 1, 32, 32), 1).square().sum().backward()
    for name, parameter in net.named_parameters():
        routed = ".each." in name or name.startswith("heads")
        own = ".each.1." in name or name.startswith("heads.1")
        assert (parameter.grad is not None) == (own or not routed), name
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.num_batches_tracked > 0) == (".each.1" in name), name


def test_routed_norms_of_one_domain_change_nothing() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    image = torch.rand(4, 1, 8, 8)
    expected = plain(image)
    route_norms(plain, 1)
    assert isinstance(plain[1], RoutedNorm)
    torch.testing.assert_close(plain(image), expected)


@pytest.mark.parametrize("backbone", ["hrnet_w18_small", "convnext_atto", "resnet10t"])
def test_weights_of_the_timm_classifier_give_its_features_in_every_domain(backbone: str) -> None:
    torch.manual_seed(0)
    classifier = timm.create_model(backbone, pretrained=False)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.1  # timm starts them at zero, which would hide a mistake
    net = network(backbone).eval()
    net.load_encoder(classifier.state_dict())
    image = torch.rand(1, 1, 64, 64)
    reference = timm.create_model(backbone, pretrained=False, features_only=True)
    own = {name.replace(".", "_"): value for name, value in classifier.state_dict().items()}
    reference.load_state_dict({name: own[name.replace(".", "_")] for name in reference.state_dict()})
    with torch.no_grad():
        expected = reference.eval()(image.expand(-1, 3, -1, -1))
        for domain in range(2):
            net(image, domain)
            for a, b in zip(net.encoder(image), expected, strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="is missing or of another shape"):
        network("resnet10t").load_encoder(timm.create_model("convnext_atto").state_dict())


@pytest.mark.parametrize(("name", "told"), [("hrnet_w19", "known are hrnet"), ("nothing", "timm has no model")])
def test_a_wrong_name_is_told_in_one_line(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        network(name)
