"""Networks by name, and the memory that a loss takes beside them."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.known import OF_CLASSES
from lovasz.study.train.losses import named_loss
from lovasz.study.train.memory import loss_mib
from lovasz.study.train.network import FullSize, build_network, check_network, identity, outputs_for_training


@pytest.fixture
def smp(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A stand-in for segmentation_models_pytorch, with the one function that is called."""
    asked: list[tuple[Any, ...]] = []

    def create_model(arch: str, encoder_name: str, **more: Any) -> torch.nn.Module:
        if arch != "Unet":
            raise KeyError(f"no {arch}")
        asked.append((arch, encoder_name, more))
        return torch.nn.Conv2d(more["in_channels"], more["classes"], 32, stride=32)

    module = ModuleType("segmentation_models_pytorch")
    module.create_model = create_model  # type: ignore[attr-defined]
    module.__spec__ = object()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)
    return asked


def test_segmentation_models_pytorch_by_name(smp: list[tuple[Any, ...]]) -> None:
    check_network("smp:Unet/resnet18")
    network = build_network("smp:Unet/resnet18", 4, 7, 2)
    # Sides that its encoder can halve five times, and logits as large as the image.
    assert network(torch.randn(1, 4, 50, 70)).shape == (1, 7, 50, 70)
    # From random weights, as every other network here: nothing is downloaded.
    assert smp == [("Unet", "resnet18", {"encoder_weights": None, "in_channels": 4, "classes": 7})]
    with pytest.raises(ValueError, match="--network smp:Vnet/resnet18: 'no Vnet'"):
        build_network("smp:Vnet/resnet18", 3, 2, 2)


def test_segmentation_models_pytorch_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ValueError, match="needs segmentation_models_pytorch: pip install it"):
        check_network("smp:Unet/resnet18")


def test_padding_repeats_the_edge_and_is_cropped_again() -> None:
    class Sums(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            assert image.shape[2:] == (8, 12)
            assert (image[:, :, 5:] == image[:, :, 4:5]).all()
            return image

    image = torch.randn(2, 3, 5, 9)
    torch.testing.assert_close(FullSize(Sums(), 4)(image), image)


def test_coarse_logits_are_interpolated() -> None:
    network = build_network("tests.study.own:coarse", 3, 2, 2)
    image = torch.randn(1, 3, 8, 10)
    coarse = network.network(image)["out"]
    expected = torch.nn.functional.interpolate(coarse, (8, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", list(OF_CLASSES.names))
def test_the_loss_of_coarse_logits_is_that_of_interpolated_ones(name: str, dims: int) -> None:
    """For the Lovász losses inside the loss, with the padding as void; the gradient in the logits as well."""
    coarse = build_network("tests.study.own:coarse", 3, 4, dims)
    network = FullSize(coarse.network, 4)  # type: ignore[arg-type]
    image, sides = torch.randn(2, 3, *(7, 10, 6)[:dims]), (7, 10, 6)[:dims]
    target = torch.randint(0, 4, (2, *sides))
    target[:, 0] = IGNORE_INDEX
    (logits,), padded = outputs_for_training(network, image, target)
    assert logits.shape[2:] == tuple(-(-side // 4) * 2 for side in sides)
    assert padded.shape[1:] == tuple(-(-side // 4) * 4 for side in sides)
    loss = named_loss(name, [5, 5, 5, 5])
    found, expected = loss(logits, padded, 1.0), loss(network(image), target, 1.0)
    torch.testing.assert_close(found, expected)
    weight = network.network.layer.weight
    gradients = (torch.autograd.grad(one, weight)[0] for one in (found, expected))
    torch.testing.assert_close(*gradients)


def test_outputs_of_several_resolutions_are_for_training_alone() -> None:
    """The finest first; padded as the network needs, with void in the target; what is too fine is reduced."""
    network = FullSize(build_network("tests.study.own:supervised", 3, 4, 2).network, 4)  # type: ignore[arg-type]
    image, target = torch.randn(2, 3, 7, 10), torch.randint(0, 4, (2, 7, 10))
    outputs, padded = outputs_for_training(network, image, target)
    assert [tuple(one.shape[2:]) for one in outputs] == [(8, 12), (4, 6), (2, 3), (8, 12)]
    assert padded.shape == (2, 8, 12)
    assert (padded[:, :7, :10] == target).all()
    assert (padded[:, 7:] == IGNORE_INDEX).all()
    torch.testing.assert_close(network(image), outputs[0][:, :, :7, :10])


def test_logits_as_fine_as_the_image_are_not_touched() -> None:
    network, image = build_network("unet-small", 3, 2, 2).eval(), torch.randn(1, 3, 12, 9)
    target = torch.zeros(1, 12, 9, dtype=torch.long)
    (logits,), same = outputs_for_training(network, image, target)
    assert same is target
    assert torch.equal(logits, network(image))


@pytest.mark.parametrize("name", ["unet-small", "unet"])
def test_volumes(name: str) -> None:
    assert build_network(name, 1, 3, 3)(torch.randn(2, 1, 9, 16, 8)).shape == (2, 3, 9, 16, 8)
    with pytest.raises(ValueError, match="--network conv is for pictures"):
        build_network("conv", 1, 3, 3)


def test_what_is_not_a_network() -> None:
    with pytest.raises(ValueError, match=r"must return a torch.nn.Module, got list"):
        build_network("tests.study.test_network:nothing", 1, 2, 2)


def nothing(in_channels: int, num_classes: int, dims: int) -> list[int]:
    return [in_channels, num_classes, dims]


def test_a_users_code_is_part_of_the_name() -> None:
    assert identity("unet") == "unet"
    assert identity("smp:Unet/resnet18") == "smp:Unet/resnet18"
    name, _, digest = identity("tests.study.own:coarse").partition(" ")
    assert name == "tests.study.own:coarse"
    assert len(digest.strip("()")) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_of_a_loss() -> None:
    shape = (2, 19, 256, 256)  # 9.5 MiB of logits
    counted, sorted_, entropy = (loss_mib(name, shape, "cpu", "32") for name in ("lovasz", "lovasz-exact", "ce"))
    assert counted is not None
    assert sorted_ is not None
    assert entropy is not None
    assert 8 < entropy < 40  # the log-probabilities, one or two times
    assert sorted_ > 4 * counted
    coarse = (2, 19, 64, 64)
    counted, entropy = (loss_mib(name, coarse, "cpu", "32", (256, 256)) for name in ("ce+lovasz", "ce"))
    assert counted is not None
    assert entropy is not None
    assert entropy > 25  # the logits of every pixel, their log-probabilities and gradient
    assert counted < 8


def test_memory_is_not_measured_where_there_is_no_way() -> None:
    assert loss_mib("ce", (1, 2, 8, 8), "mps", "32") is None
