"""nnU-Net with cross-entropy and the Lovász loss in the place of Dice: a trainer with deep supervision and DDP.

nnU-Net (2.7 or later) imports every file of a folder that is named to it, so give this one a folder of its own:

    mkdir trainers && cp nnunet_trainer.py trainers && export nnUNet_extTrainer=$PWD/trainers
    nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerLovasz

Voxels that are ignored count in neither loss, regions that overlap have a Lovász loss each, and with several GPUs
(-num_gpus) the loss is that of the crops of all of them, which are few and small on each.
"""

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from lovasz import DeepSupervisionLoss, LovaszBinaryCrossEntropyLoss, LovaszCrossEntropyLoss


class Supervised(DeepSupervisionLoss):
    """Takes the labels as nnU-Net's loader gives them: (N, 1, *), or a channel for each region, a list of sizes.

    The finest are enough: each output is made as fine as these inside the loss.
    """

    def __init__(self, loss, regions, ignored):
        super().__init__(loss)
        self.regions, self.ignored = regions, ignored

    def forward(self, outputs, target):
        target = target[0] if isinstance(target, list) else target
        if not self.regions:
            return super().forward(outputs, target[:, 0].long())
        if not self.ignored:
            return super().forward(outputs, target)
        return super().forward(outputs, target[:, :-1], target[:, -1] == 0)  # the last channel is what is ignored


class nnUNetTrainerLovasz(nnUNetTrainer):  # noqa: N801  nnU-Net's way of naming
    def _build_loss(self):
        labels = self.label_manager
        common = {
            "upsample": {2: "bilinear", 3: "trilinear"}[len(self.configuration_manager.patch_size)],
            "group": "world" if self.is_ddp else None,
        }
        if labels.has_regions:
            loss = LovaszBinaryCrossEntropyLoss(channels=True, **common)
        else:
            ignored = -100 if labels.ignore_label is None else labels.ignore_label
            loss = LovaszCrossEntropyLoss(ignore_index=ignored, **common)
        return Supervised(loss, labels.has_regions, labels.ignore_label is not None)
