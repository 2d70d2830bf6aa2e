"""What a comparison does, in one typed record that a YAML file holds and options change."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from lovasz.study.data import augment
from lovasz.study.data.parts import MOST_CLASSES, MULTICLASS
from lovasz.study.data.regions import BITS
from lovasz.study.io.labels import READY, LabelMap, parse_map
from lovasz.study.train.known import OF_CLASSES, OF_LABELS
from lovasz.study.train.options import Option
from lovasz.study.train.rounds import ROUNDS
from lovasz.study.train.weights import LITE0_ENCODER

# What is compared in a binary or multilabel task if nothing is named.
LABEL_LOSSES = ("bce", "sigmoid", "bce+sigmoid")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) if ">" in name else name for name in names)


# The scene is one image. Its learning rate was chosen by the mean validation mIoU of the default losses: 86.3 here,
# 83.6 at 0.003, where cross-entropy is not yet done after 150 steps. A baseline deserves a schedule to learn in.
class Config(BaseModel):
    """A comparison, as asked for; what is said of an option anywhere is declared here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[
        Path | None,
        Option("data", "PATH"),
        Field(
            description="Your images and masks: a folder with train, val and test, each with images and masks; a "
            "folder as Pascal VOC's, Cityscapes', ADE20K's, COCO-stuff's or nnU-Net's; or a CSV file with the "
            "columns part, image, mask. Without it, the embedded scene."
        ),
    ] = None
    classes: Annotated[
        Path | None,
        Option("data", "FILE"),
        Field(description="Names of the classes, a line each, or JSON with names, colours and values."),
    ] = None
    num_classes: Annotated[
        int | None,
        Option("data", "N"),
        Field(description="Number of classes, if no file names them.", ge=1, le=MOST_CLASSES),
    ] = None
    ignore: Annotated[
        tuple[int, ...],
        Option("data", "LABEL"),
        Field(description="A label left out of loss and score; repeat for more."),
    ] = ()
    map: Annotated[
        str | None,
        Option("data", "MAP"),
        Field(
            description="What stored values stand for, as 255:1 or 0:void,7:0; others stay. Or "
            f"{' or '.join(READY)}, for the masks of these data sets; or {BITS}: each bit is a label of a "
            "multilabel task, the lowest first."
        ),
    ] = None
    task: Annotated[
        Literal["auto", "multiclass", "binary", "multilabel"],
        Option("data", "NAME"),
        Field(
            description="multiclass: one class a pixel, by a softmax. binary: one channel, foreground or not. "
            "multilabel: a channel for each label, which may overlap. auto: multilabel where the data have a mask "
            "for each label, binary where there is one class, else multiclass."
        ),
    ] = "auto"
    foreground: Annotated[
        str | None,
        Option("data", "CLASS"),
        Field(
            description="Of a binary task the class that is foreground, by name or number; all others are "
            "background. Of two classes it is the second."
        ),
    ] = None
    size: Annotated[
        tuple[int, ...] | None,
        Option("data", "HxW"),
        Field(description="Resize images and masks; HxWxD for volumes."),
    ] = None
    normalize: Annotated[
        str | None,
        Option("data", "HOW"),
        Field(
            description="How the values of images are standardised: data (mean and std over the training images), "
            "imagenet, none, or MEAN/STD, one number for all channels or one a channel, of values from 0 to 1 "
            "where images have 8 or 16 bits. [default: what --weights NAME expects, else data]"
        ),
    ] = None
    group: Annotated[
        str | None,
        Option("data", "GROUPS"),
        Field(
            description="Test images that are drawn together for intervals, as of one patient: CSV with the "
            "columns image, group; or a regular expression whose first group, in the name, is the group."
        ),
    ] = None
    losses: Annotated[
        tuple[str, ...],
        Option("losses", "NAME", name="loss", short="l"),
        Field(
            description="A loss to compare; repeat for more. The first is the baseline. One of "
            f"{_listed(OF_CLASSES.names)}; of a binary or multilabel task one of {_listed(OF_LABELS.names)} "
            f"[default there: {', '.join(LABEL_LOSSES)}]; another sum A+B; another "
            "'A>B', one for each half of the steps; or your own as MODULE:FUNCTION, called with logits and target."
        ),
    ] = ("ce", "lovasz", "ce+lovasz")
    seeds: Annotated[
        int, Option("losses", "N"), Field(description="Trainings of each loss, with seeds 0 to N - 1.", ge=1)
    ] = 5
    network: Annotated[
        str,
        Option("network", "NAME", files="unet", scene="conv"),
        Field(
            description="conv, unet-small, unet or unet-large (MONAI; 2-D and 3-D), smp:MODEL/ENCODER, or your own "
            "as MODULE:FUNCTION."
        ),
    ]
    weights: Annotated[
        str | None,
        Option("network", "FILE"),
        Field(
            description="Weights to begin with: a file (safetensors, or a checkpoint of PyTorch); imagenet, or "
            "another name that smp:MODEL/ENCODER knows, which it downloads; or efficientnet-lite0, of the extra "
            f"pretrained, for smp:MODEL/{LITE0_ENCODER}. Without, random ones."
        ),
    ] = None
    epochs: Annotated[
        int | None, Option("training", "N", files=24), Field(description="Passes over the training images.", ge=1)
    ] = None
    steps: Annotated[
        int | None,
        Option("training", "N", scene=150),
        Field(description="Optimiser steps, in the place of epochs.", ge=1),
    ] = None
    batch: Annotated[
        int, Option("training", "N", files=8, scene=1), Field(description="Images a step and device.", ge=1)
    ]
    crop: Annotated[
        tuple[int, ...] | None,
        Option("training", "HxW"),
        Field(description="Train on random crops of this size."),
    ] = None
    augment: Annotated[
        tuple[str, ...],
        Option("training", "NAME", files=("flip", "scale", "light"), scene=("turn",)),
        Field(description=f"{', '.join(augment.DESCRIPTIONS)}, or none; repeat for more."),
    ]
    optimizer: Annotated[
        Literal["adamw", "sgd"], Option("training", "NAME"), Field(description="adamw or sgd.")
    ] = "adamw"
    lr: Annotated[
        tuple[float, ...],
        Option("training", "X", files=(0.003,), scene=(0.01,)),
        Field(
            description="Learning rate at the start. Given several times, each loss takes the one with which its "
            "first seed does best on the validation part."
        ),
    ]
    schedule: Annotated[
        Literal["cosine", "poly", "constant"],
        Option("training", "NAME"),
        Field(description="cosine, poly or constant."),
    ] = "cosine"
    weight_decay: Annotated[float, Option("training", "X"), Field(description="", ge=0, allow_inf_nan=False)] = 1e-4
    freeze: Annotated[
        int,
        Option("training", "N"),
        Field(
            description="Keep the encoder as it is in the first N epochs, or steps where --steps is given.", ge=0
        ),
    ] = 0
    encoder_lr: Annotated[
        float,
        Option("training", "X"),
        Field(description="Learning rate of the encoder, in units of --lr.", gt=0, allow_inf_nan=False),
    ] = 1.0
    precision: Annotated[Literal["32", "bf16"], Option("training", "NAME"), Field(description="32 or bf16.")] = "32"
    validations: Annotated[
        int | None,
        Option("training", "N"),
        Field(
            description="Validation passes along a training, evenly spread, one after its last step. "
            f"[default: {ROUNDS}, fewer if they would see more images than the training]",
            ge=1,
            le=ROUNDS,
        ),
    ] = None
    accelerator: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        Option("machine", "NAME"),
        Field(description="Where to train: auto, cpu, cuda or mps."),
    ] = "auto"
    devices: Annotated[
        int,
        Option("machine", "N"),
        Field(
            description="Processes that train together, at most one a core or GPU, each with a batch of its own in "
            "every step. The Lovász losses are those of all batches at once."
        ),
    ] = 1
    threads: Annotated[
        int,
        Option("machine", "N"),
        Field(description="CPU threads, at most one a core; 0: PyTorch chooses.", ge=0),
    ] = 0
    workers: Annotated[
        int, Option("machine", "N"), Field(description="Processes that read images ahead; 0: none.", ge=0)
    ] = 0
    logger: Annotated[
        Literal["csv", "tensorboard"], Option("files", "NAME"), Field(description="csv, or tensorboard for both.")
    ] = "csv"

    @field_validator("losses", "lr", "ignore", "augment", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Take one value for a list of one; "none" for an empty one."""
        if value in ("none", ["none"], ("none",)):
            return ()
        return (value,) if isinstance(value, (str, int, float)) else value

    @field_validator("map", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        """Refuse what YAML makes of a pair that is not quoted: of 255:1 a number to the base 60."""
        if value is not None and not isinstance(value, str):
            raise ValueError('write it in quotes, as "255:1"')
        return value

    def of_task(self, task: str) -> "Config":
        """Return the same for a task that is known, with its losses if none were named."""
        named = "losses" in self.model_fields_set
        known = {} if named or task == MULTICLASS else {"losses": LABEL_LOSSES}
        return self.model_copy(update={"task": task, **known})

    @property
    def label_map(self) -> LabelMap | None:
        """What stored values stand for; None: for themselves, or their bits for labels."""
        return None if self.map is None or self.map == BITS else parse_map(self.map)

    @property
    def device(self) -> str:
        """The accelerator, "auto" resolved: CUDA where there is a GPU, else the CPU."""
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator
