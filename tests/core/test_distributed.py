"""Many processes and micro-batches: one loss, whatever the split. Real processes, over gloo."""

import datetime
import os
import socket
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import lovasz
from lovasz._math import binning
from lovasz.metrics import JaccardIndex
from tests.core import cases
from tests.core.cases import FORMS, LOSSES, random
from tests.core.processes import run, start

#: FSDP2 needs a GPU before.
SHARDS = torch.__version__ >= "2.7"
IGNORE = 255
#: Images of each process; from three processes on one has none.
SPLITS = {1: [6], 2: [5, 1], 3: [2, 0, 4], 4: [1, 3, 0, 2]}


def batch(form, shape=(6, 4, 9, 11)):
    """Labels of class 3 in the first image alone; the last image is void; predictions of all kinds."""
    logits, target = random(form, shape, 70, 2.0)
    if form == "softmax":
        target[1:][target[1:] == 3] = 0
        target[0, 0, 0] = 3
    target[-1] = IGNORE
    return logits, target


def part_of(rank, world):
    begin = sum(SPLITS[world][:rank])
    return slice(begin, begin + SPLITS[world][rank])


def losses_of_a_split(rank, world):
    """Every form, mean and per class: value, gradient where gradients are added, and where they are averaged."""
    found = {}
    group = torch.distributed.group.WORLD
    mine = part_of(rank, world)
    for form in FORMS:
        logits, target = batch(form)
        for reduction in ("mean", "none"):
            for average in (False, True):
                x = logits[mine].clone().requires_grad_()
                loss = LOSSES[form](
                    x, target[mine], ignore_index=IGNORE, reduction=reduction, bins=512, group=group,
                    average_gradients=average,
                )  # fmt: skip
                loss.nansum().backward()
                found[form, reduction, average] = (loss.detach(), x.grad)
    logits, target = batch("softmax")
    for average in (False, True):
        x = logits[mine].clone().requires_grad_()
        loss = lovasz.lovasz_cross_entropy(
            x,
            target[mine],
            ignore_index=IGNORE,
            bins=512,
            group=group,
            label_smoothing=0.1,
            average_gradients=average,
        )
        loss.backward()
        found["both", average] = (loss.detach(), x.grad)
    # A volume in slabs, one for each process.
    logits, target = batch("softmax", (1, 4, 12, 6, 5))
    slabs = torch.arange(12).tensor_split(world)[rank]
    loss = lovasz.lovasz_softmax(logits[:, :, slabs], target[:, slabs], ignore_index=IGNORE, bins=512, group=group)
    found["slabs"] = (loss, None)
    counts = cases.count(logits[:, :, slabs], target[:, slabs], ignore_index=IGNORE, bins=512)
    found["counts"] = (counts.all_reduce(group).table, counts.all_reduce().table)
    iou = JaccardIndex(num_classes=4, ignore_index=IGNORE)
    logits, target = batch("softmax")
    iou.update(logits[mine].argmax(1), target[mine])
    found["iou"] = iou.compute()
    return found


@pytest.mark.parametrize("world", SPLITS)
def test_any_split_over_processes_is_one_batch(world, tmp_path):
    found = run(losses_of_a_split, world, tmp_path)
    assert all(f.keys() == found[0].keys() for f in found)

    def same_loss(key, expected, bits=True):
        for f in found:
            assert_close(f[key][0], found[0][key][0], rtol=0, atol=0, equal_nan=True)  # the same bits on each
            exactly = {"rtol": 0, "atol": 0} if bits else {}
            assert_close(f[key][0], expected.detach(), **exactly, equal_nan=True)

    def gradients(key):
        return torch.cat([f[key][1] for f in found])

    for form in FORMS:
        logits, target = batch(form)
        for reduction in ("mean", "none"):
            x = logits.clone().requires_grad_()
            loss = LOSSES[form](x, target, ignore_index=IGNORE, reduction=reduction, bins=512)
            loss.nansum().backward()
            for average in (False, True):
                same_loss((form, reduction, average), loss)
            assert_close(gradients((form, reduction, False)), x.grad, rtol=0, atol=0)
            assert_close(gradients((form, reduction, True)) / world, x.grad, rtol=1e-5, atol=1e-8)
    logits, target = batch("softmax")
    x = logits.clone().requires_grad_()
    loss = lovasz.lovasz_cross_entropy(x, target, ignore_index=IGNORE, bins=512, label_smoothing=0.1)
    loss.backward()
    for average in (False, True):
        same_loss(("both", average), loss, bits=False)
        assert_close(gradients(("both", average)) / (world if average else 1), x.grad, rtol=1e-5, atol=1e-8)
    logits, target = batch("softmax", (1, 4, 12, 6, 5))
    same_loss("slabs", lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, bins=512))
    table = cases.count(logits, target, ignore_index=IGNORE, bins=512).table
    logits, target = batch("softmax")
    iou = JaccardIndex(num_classes=4, ignore_index=IGNORE)
    iou.update(logits.argmax(1), target)
    for f in found:
        assert_close(f["counts"], (table, table), rtol=0, atol=0)
        assert_close(f["iou"], iou.compute(), rtol=0, atol=0)


def sent(rank, world):
    """Bytes of each all-reduce of a loss and its backward, for few and for many pixels."""
    sizes = []
    plain = torch.distributed.all_reduce

    def listening(tensor, *args, **kwargs):
        sizes.append(tensor.nbytes)
        return plain(tensor, *args, **kwargs)

    torch.distributed.all_reduce = listening
    for side in (4, 64):
        logits, target = random("softmax", (1, 5, side, side), 71)
        lovasz.lovasz_softmax(logits.requires_grad_(), target, group="world").backward()
    return sizes


def test_what_is_sent_is_the_table_whatever_the_number_of_pixels(tmp_path):
    """16 bytes for each class and bin, and for the bin of what is no number; 112 say what was counted."""
    for sizes in run(sent, 2, tmp_path):
        assert sizes == [16 * 5 * (binning.default_bins(5, "softmax") + 1) + 112] * 2


DISAGREEING = {
    "form": ({"loss": "sigmoid"}, "form=sigmoid"),
    "bins and classes": ({"shape": (2, 26, 4, 4), "bins": 16}, "26 classes, bins=16"),
    "measure": ({"measure": "dice"}, "measure=Tversky(0.5, 0.5)"),
    "classes": ({"classes": [1, 0]}, "classes=0, 1"),
    "reduction": ({"reduction": "sum"}, "reduction=sum"),
    "cross-entropy": ({"loss": "both"}, "label_smoothing=0.0"),
    "counts": ({"loss": "count"}, "measure=none, classes=, reduction="),
}


def disagree(rank, world):
    """What each process says where the last one counts something else in a table of the same size."""
    said = {}
    losses = {**LOSSES, "both": lovasz.lovasz_cross_entropy}
    for name, (other, _) in DISAGREEING.items():
        arguments = {"bins": 220, "classes": "all", **(other if rank == world - 1 else {})}
        loss = arguments.pop("loss", "softmax")
        shape = arguments.pop("shape", (2, 2, 4, 4))
        logits, target = random("sigmoid" if loss == "sigmoid" else "softmax", shape)
        try:
            if loss == "count":
                cases.count(logits, target, bins=arguments["bins"]).all_reduce()
            else:
                losses[loss](logits, target, group="world", **arguments)
        except RuntimeError as error:
            said[name] = str(error)
    logits, target = random("softmax", (2, 3, 4, 4))
    classes = [0, 2] if rank else (2, 0)
    return said, lovasz.lovasz_softmax(logits, target, bins=64, classes=classes, group="world")


def test_processes_that_count_different_things_are_told_so(tmp_path):
    """Each of them, with what it counts itself; afterwards they may go on."""
    found = run(disagree, 3, tmp_path)
    for rank, (said, loss) in enumerate(found):
        assert said.keys() == DISAGREEING.keys()
        for message in said.values():
            assert message.startswith(f"the processes of a group must count the same: process {rank} of 3 has ")
            assert message.endswith(", another has not")
        assert loss == found[0][1]
    for name, (_, part) in DISAGREEING.items():
        assert f"has {part}" in found[2][0][name]


# ---- training ----


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))


def data(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, 3, 9, 11, generator=generator), torch.randint(0, 4, (6, 9, 11), generator=generator)


def trained(model, rank, world, group, parameters=None, loss=lovasz.lovasz_softmax):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(20):
        image, target = data(step)
        mine = part_of(rank, world)
        optimizer.zero_grad()
        loss(model(image[mine]), target[mine], group=group, bins=4096).backward()
        optimizer.step()
    return model


def weights_of(model):
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for p in model.parameters()]


def train_in_parallel(rank, world):
    group = torch.distributed.group.WORLD
    ddp = nn.parallel.DistributedDataParallel(network())
    found = {"ddp": [p.detach() for p in trained(ddp, rank, world, group).module.parameters()]}

    compiled = torch.compile(lovasz.lovasz_softmax, backend="aot_eager", fullgraph=True)
    ddp = nn.parallel.DistributedDataParallel(network())
    found["compiled"] = [p.detach() for p in trained(ddp, rank, world, group, loss=compiled).module.parameters()]

    if SHARDS:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        sharded = fully_shard(network(), mesh=init_device_mesh("cpu", (world,)))
        found["fsdp"] = [p.detach().clone() for p in weights_of(trained(sharded, rank, world, group))]
    return found


def test_training_in_two_processes_is_training_in_one(tmp_path):
    """After 20 steps of DDP, of DDP with the loss compiled, and of FSDP2, over uneven parts of each batch."""
    alone = [p.detach() for p in trained(network(), 0, 1, None).parameters()]
    for found in run(train_in_parallel, 2, tmp_path):
        assert set(found) == {"ddp", "compiled", *(["fsdp"] if SHARDS else [])}
        for name, weights in found.items():
            assert_close(weights, alone, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def as_torchrun_starts(rank, world, port):
    """Leaves the group of the tests; what torchrun says to a process is in its environment."""
    torch.distributed.barrier()  # who leaves at once is lost to those that still connect to it
    torch.distributed.destroy_process_group()
    said = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}  # fmt: skip
    os.environ.update({name: str(value) for name, value in said.items()})


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def lightning_in_parallel(rank, world, port):
    """A Lightning module with the loss of all processes; its weights after five steps."""
    as_torchrun_starts(rank, world, port)
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader, TensorDataset

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()
            self.loss = lovasz.LovaszSoftmaxLoss(bins=4096, group="world")

        def training_step(self, batch, index):
            image, target = batch
            return self.loss(self.network(image), target)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    module = Module()
    trainer = pl.Trainer(
        accelerator="cpu", devices=world, strategy="ddp", max_epochs=5, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(*data(0)), batch_size=6 // world))
    assert trainer.global_step == 5
    return [p.detach() for p in module.parameters()]


def test_lightning_in_the_processes_of_torchrun(tmp_path):
    """Two processes, each half of the images, against a plain loop over all of them."""
    (image, target), alone = data(0), network()
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        lovasz.lovasz_softmax(alone(image), target, bins=4096).backward()
        optimizer.step()
    for together in run(lightning_in_parallel, 2, tmp_path, free_port()):
        assert_close(together, [p.detach() for p in alone.parameters()], rtol=1e-4, atol=1e-4)


def compare_in_parallel(rank, world, port, folder):
    """One training of `lovasz compare`: Lightning finds the processes by the environment."""
    as_torchrun_starts(rank, world, port)
    from lovasz.study.train import training
    from lovasz.study.train.config_file import make_config
    from lovasz.study.train.runs import plan
    from tests.study.tiny_data import tiny_scene

    networks, start = [], training.start_network
    training.start_network = lambda *args: networks.append(start(*args)) or networks[-1]
    scene = tiny_scene()
    config = make_config({"losses": "lovasz", "seeds": 1, "steps": 4, "accelerator": "cpu", "devices": world}, None)
    (settings,) = plan(config, scene, threads=1).runs
    run = training.train(settings, config, scene, Path(folder), lambda step: None, keep=rank == 0)
    return [p.detach() for p in networks[0][0].parameters()], run.curve, run.val_counts


def named(rank, world):
    """`ce+lovasz` of one half of a batch, whose halves have not as many void pixels, and its gradient."""
    from lovasz.study.train.losses import named_loss

    logits, target = random("softmax", (2, 5, 8, 8), 7)
    target[0, :4] = -100
    x = logits[rank : rank + 1].clone().requires_grad_() if world > 1 else logits.requires_grad_()
    loss = named_loss("ce+lovasz", [1] * 5)(x, target[rank : rank + 1] if world > 1 else target, 0.0)
    loss.backward()
    return loss.detach(), x.grad


def test_ce_lovasz_of_two_processes_is_that_of_both_batches(tmp_path):
    whole, gradient = named(0, 1)
    found = run(named, 2, tmp_path)
    for loss, _ in found:
        assert_close(loss, whole)
    assert_close(torch.cat([grad for _, grad in found]) / 2, gradient)  # DDP averages


def test_compare_trains_one_network_in_two_processes(tmp_path):
    """With another view of the scene in each, and yet the same weights."""
    (first, *curves), (second, *others) = run(compare_in_parallel, 2, tmp_path, free_port(), str(tmp_path))
    assert_close(first, second, rtol=0, atol=0)
    assert [point.miou for point in curves[0]] == [point.miou for point in others[0]]
    assert curves[1] == others[1]
    assert sum(map(sum, curves[1])) == 62  # each validation pixel once: one process has the only image


def join_and_leave(rank, world, port, folder):
    """Whether the last process has joined when this one, which does nothing, leaves."""
    as_torchrun_starts(rank, world, port)
    from lovasz.study.processes import joined

    last, join = Path(folder, "last"), torch.distributed.init_process_group

    def join_late(*args, **settings):
        join(*args, **settings)
        time.sleep(rank)
        if rank == world - 1:
            last.touch()

    torch.distributed.init_process_group = join_late
    with joined():
        pass
    return last.exists()


def test_no_process_leaves_before_the_last_has_joined(tmp_path):
    """Else those that still connect to it say that a connection was closed, where it has said what is wrong."""
    assert run(join_and_leave, 2, tmp_path, free_port(), str(tmp_path)) == [True, True]


# ---- failures ----


def survive(rank, world, how):
    """The first process loses the second before its call; what it says, after how long, and whether it stepped."""
    logits, target = random("softmax", (1, 5, 8, 8), 72)
    group = torch.distributed.new_group(timeout=datetime.timedelta(seconds=5))  # that of all waits for minutes
    lovasz.lovasz_softmax(logits, target, bins=64, group=group)
    if rank == 1:
        if how.endswith("hangs"):
            time.sleep(600)
        os._exit(0)
    parameter = nn.Parameter(logits.clone())
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    begin = time.monotonic()

    def step():
        lovasz.lovasz_softmax(parameter, target, bins=64, group=group).backward()
        optimizer.step()

    with pytest.raises(RuntimeError) as raised:
        step()
    torch.save((str(raised.value), time.monotonic() - begin, torch.equal(parameter, logits)), how + ".pt")
    os._exit(0)


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_lost_process_is_an_error_that_says_what_was_sent(how, tmp_path):
    processes = start(survive, 2, tmp_path, str(tmp_path / how))
    processes[0].join(200)
    for process in processes:
        process.kill()
    message, seconds, untouched = torch.load(tmp_path / f"{how}.pt")
    sent_table = "all_reduce of Lovász counts (int64 (1, 5, 2, 65), 5200 bytes)"
    assert message.startswith(f"{sent_table} failed in process 0 of 2")
    assert "another process died, hangs, did not make this call, or made it with other classes or bins" in message
    assert seconds < 100
    assert untouched


# ---- micro-batches ----

DIVISIONS = ([6], [1] * 6, [2, 4], [3, 0, 3], [5, 1])


@pytest.mark.parametrize("division", DIVISIONS, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_any_division_into_micro_batches_gives_the_bits_of_one_batch(form, division):
    logits, target = batch(form)
    weight = torch.tensor([1.0, 2.0, 0.5, 1.5])
    args = {"ignore_index": IGNORE, "weight": weight}
    whole = logits.clone().requires_grad_()
    expected = LOSSES[form](whole, target, bins=512, **args)
    expected.backward()
    parts = list(zip(logits.split(division), target.split(division), strict=True))
    counts = sum(cases.count(x, t, form=form, ignore_index=IGNORE, bins=512) for x, t in parts)
    grads = []
    for x, t in parts:
        x = x.clone().requires_grad_()
        loss = LOSSES[form](x, t, counts=counts, **args)
        assert_close(loss, expected, rtol=0, atol=0)
        loss.backward()
        grads.append(x.grad)
    assert_close(torch.cat(grads), whole.grad, rtol=0, atol=0)


def test_accumulated_gradients_train_as_one_batch():
    """A network, its images one by one: counts first, then the gradients of one image after the other."""
    one, many = network(), network()
    image, target = data(0)
    lovasz.lovasz_softmax(one(image), target, bins=4096).backward()
    loss = lovasz.LovaszSoftmaxLoss()
    with torch.no_grad():
        counts = sum(cases.count(many(x[None]), t[None], bins=4096) for x, t in zip(image, target, strict=True))
    for x, t in zip(image, target, strict=True):
        loss(many(x[None]), t[None], counts=counts).backward()
    for a, b in zip(many.parameters(), one.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_a_volume_in_windows_is_the_volume():
    logits, target = batch("softmax", (1, 4, 12, 10, 8))
    counts = sum(
        cases.count(logits[:, :, z : z + 5, y : y + 4], target[:, z : z + 5, y : y + 4], ignore_index=IGNORE)
        for z in range(0, 12, 5)
        for y in range(0, 10, 4)
    )
    expected = lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, bins=counts.bins)
    assert_close(counts.loss(), expected, rtol=0, atol=0)


def test_counts_of_processes_serve_micro_batches_too(tmp_path):
    found = run(micro_batches_of_processes, 2, tmp_path)
    logits, target = batch("softmax")
    x = logits.clone().requires_grad_()
    expected = lovasz.lovasz_softmax(x, target, ignore_index=IGNORE, bins=512)
    expected.backward()
    for loss, _ in found:
        assert_close(loss, expected.detach(), rtol=0, atol=0)
    assert_close(torch.cat([g for _, g in found]) / 2, x.grad, rtol=1e-6, atol=0)


def micro_batches_of_processes(rank, world):
    logits, target = (t[part_of(rank, world)] for t in batch("softmax"))
    group = torch.distributed.group.WORLD
    parts = list(zip(logits.split(1), target.split(1), strict=True))
    counts = sum(cases.count(x, t, ignore_index=IGNORE, bins=512) for x, t in parts).all_reduce(group)
    grads = []
    for x, t in parts:
        x = x.clone().requires_grad_()
        loss = lovasz.lovasz_softmax(x, t, ignore_index=IGNORE, counts=counts, group=group)
        loss.backward()
        grads.append(x.grad)
    mine = cases.count(x, t, ignore_index=IGNORE, bins=512)
    with pytest.raises(ValueError, match=r"pass counts.all_reduce\(group\)"):
        lovasz.lovasz_softmax(x, t, ignore_index=IGNORE, counts=mine, group=group)
    with pytest.raises(ValueError, match="already"):
        counts.all_reduce()
    with pytest.raises(ValueError, match="one kind"):
        counts + mine
    return loss.detach(), torch.cat(grads)


def test_the_world_is_this_process_where_there_are_no_others(monkeypatch):
    """What trains in one process trains unchanged in many; where torchrun made many, they must know each other."""
    logits, target = batch("softmax")
    bins = cases.count(logits, target, ignore_index=IGNORE).bins
    expected = lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, bins=bins)
    for loss in (lovasz.lovasz_softmax, torch.compile(lovasz.lovasz_softmax, fullgraph=True, backend="eager")):
        assert_close(loss(logits, target, ignore_index=IGNORE, group="world"), expected, rtol=0, atol=0)
    counts = cases.count(logits, target, ignore_index=IGNORE).all_reduce()
    assert counts.reduced
    again = lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, counts=counts, group="world")
    assert_close(again, expected, rtol=0, atol=0)
    for more in ({"bins": None}, {"per_image": True}):
        with pytest.raises(ValueError, match="group"):
            lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, group="world", **more)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="init_process_group first"):
        lovasz.lovasz_softmax(logits, target, ignore_index=IGNORE, group="world")


def test_a_group_refuses_what_needs_all_pixels(tmp_path):
    for message in run(refused, 1, tmp_path)[0]:
        assert "choose one" in message or "sorting needs all pixels in one process" in message


def refused(rank, world):
    messages = []
    for arguments in ({"per_image": True}, {"bins": None}):
        try:
            lovasz.lovasz_softmax(
                torch.zeros(2, 3, 4), torch.zeros(2, 4).long(), group=torch.distributed.group.WORLD, **arguments
            )
        except ValueError as error:
            messages.append(str(error))
    return messages if len(messages) == 2 else ["not refused"]
