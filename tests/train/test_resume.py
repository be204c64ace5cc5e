"""Runs that stop and go on: signals, other configs, damaged checkpoints, full disks."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.runs import MakeConfig, run
from support.state import assert_same_run, differing, history
from support.stops import interrupted, kill

import e3frame.files.written as files
from e3frame.run.resume import Finished, find
from e3frame.spec.errors import UserError
from e3frame.spec.signals import came_early, remember
from e3frame.training.checkpoint import FORMAT, Damaged, read_checkpoint, write_checkpoint
from e3frame.training.module import Training

STEPS = 15  # of the small run: three epochs of five


VARIANTS = {
    "everything": {
        "model.layers.act": {"kind": "dropout", "p": 0.2},
        "scheduler": {"kind": "plateau", "patience": 0, "threshold": 0.5},
        "trainer.early_stopping_patience": 2,
        "trainer.gradient_clip_val": 0.1,
    },
    "plain": {"trainer.ema_decay": None, "scheduler": {"kind": "constant", "warmup_steps": 9}},
    "float64": {"trainer.dtype": "float64", "optimizer": {"kind": "adamw", "amsgrad": True}},
    "schedule-free": {
        "optimizer": {"kind": "schedule_free", "warmup_steps": 4},
        "scheduler": {"kind": "constant"},
        "trainer.ema_decay": None,
    },
    "muon": {"optimizer": {"kind": "muon"}, "scheduler": {"kind": "one_cycle"}},
    "soap": {"optimizer": {"kind": "soap", "every": 4}},
    "budget": {"data.batch_size": {"edges": 500}, "data.eval_batch_size": {"atoms": 100}, "trainer.max_epochs": 2},
    "disk and noise": {
        **{"data.storage": "disk", "data.augment": {"noise": 0.02}, "data.num_workers": 1, "trainer.max_epochs": 2},
        "task.targets": {"energy": {"irreps": "0e", "per": "graph", "per_atom": True}},
    },
    "rare validation": {"trainer.check_val_every_n_epoch": 2, "data.num_workers": 1},
}


def test_frames_on_disk_train_what_those_in_memory_train(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    """To the last bit, and one session of a run may read them from here, the next from there."""
    changes = {"trainer.max_epochs": 2, "data.batch_size": {"edges": 500}}
    memory = make_config(changes)
    disk = make_config({**changes, "data.storage": "disk"})
    bare = make_config({**changes, "data.neighbors": "computed"})
    for name, config in {"memory": memory, "disk": disk, "bare": bare}.items():
        run(config, tmp_path / name, console)
        assert_same_run(tmp_path / "memory", tmp_path / name)
    at_step(4, kill(signal.SIGTERM))
    interrupted(disk, tmp_path / "both", console)
    run(memory, tmp_path / "both", console)
    assert_same_run(tmp_path / "memory", tmp_path / "both")


@pytest.mark.parametrize("name", VARIANTS)
def test_an_interrupted_run_goes_on_bit_for_bit(
    name: str, make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    config = make_config(VARIANTS[name])
    run(config, tmp_path / "whole", console)
    for step, number in ((1, signal.SIGTERM), (4, signal.SIGINT), (7, signal.SIGTERM)):
        at_step(step, kill(number))
        interrupted(config, tmp_path / "other", console)
    run(config, tmp_path / "other", console)
    assert_same_run(tmp_path / "whole", tmp_path / "other")


def test_signals_end_a_run_with_a_checkpoint(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    listened = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    config, before = make_config(), [signal.getsignal(number) for number in listened]
    at_step(2, kill(signal.SIGHUP))
    assert interrupted(config, tmp_path / "run", console).startswith("interrupted by SIGHUP after step 3 (epoch 1)\n")
    at_step(6, kill(signal.SIGTERM))
    assert interrupted(config, tmp_path / "run", console) == (
        "interrupted by SIGTERM after step 7 (epoch 2)\n"
        f"  run the same command again to resume from {tmp_path}/run/checkpoints/step-000000007.ckpt"
    )
    assert [signal.getsignal(number) for number in listened] == before
    at_step(8, lambda: (kill(signal.SIGINT)(), kill(signal.SIGINT)()))
    assert interrupted(config, tmp_path / "run", console) == "stopped immediately by a second interrupt, in epoch 2"
    assert [signal.getsignal(number) for number in listened] == before
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-000000005.ckpt", "step-000000007.ckpt"]


def test_slurm_is_asked_to_queue_the_job_again(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    at_step(6, kill(signal.SIGUSR1))
    assert "interrupted by SIGUSR1 after step 7" in interrupted(make_config(), tmp_path / "run", console)
    assert asked.read_text() == "requeue 71\n"
    scontrol.write_text("#!/bin/sh\nkill -TERM $$\n")  # as Slurm ends the processes of the job that it requeues
    at_step(7, kill(signal.SIGUSR1))
    assert "interrupted by SIGUSR1 after step 8" in interrupted(make_config(), tmp_path / "run", console)
    scontrol.write_text("#!/bin/sh\necho no such job >&2\nexit 1\n")
    at_step(8, kill(signal.SIGUSR1))
    with pytest.raises(UserError) as caught:
        run(make_config(), tmp_path / "run", console)
    assert str(caught.value) == "the state is saved, but Slurm did not requeue job 71: no such job"
    assert (tmp_path / "run" / "checkpoints" / "step-000000009.ckpt").exists()


def test_slurm_signals_while_a_run_begins(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered before the first step, and never by a job that is queued again and again and comes no further."""
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    monkeypatch.setenv("PATH", str(tmp_path))
    before = signal.getsignal(signal.SIGUSR1)
    try:
        remember()
        assert not came_early()
        os.kill(os.getpid(), signal.SIGUSR1)
        message = interrupted(make_config(), tmp_path / "run", console)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "interrupted by SIGUSR1 after step 0 (epoch 1), before the first step of this session\n" in message
    assert "the job is not requeued, because it would end at the same point" in message


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    make_config: MakeConfig, tmp_path: Path, at_step: Callable
) -> None:
    config, quiet = make_config({"trainer.checkpoint_steps": 3}), Console(quiet=True)
    run(config, tmp_path / "whole", quiet)
    for damage in (lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"\xff"):
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        at_step(12, kill(signal.SIGTERM))
        interrupted(config, folder, quiet)
        newest = folder / "checkpoints" / "step-000000013.ckpt"
        newest.write_bytes(damage(newest.read_bytes()))
        recorded = Console(record=True, width=200, file=(tmp_path / "screen").open("w"))
        run(config, folder, recorded)
        text = recorded.export_text()
        assert f"{newest} is damaged: it" in text
        assert "; using the previous checkpoint\nresuming from" in text
        assert_same_run(tmp_path / "whole", folder)


def test_a_run_without_a_whole_checkpoint_starts_anew(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    config = make_config()
    run(config, tmp_path / "whole", console)
    at_step(7, kill(signal.SIGTERM))
    interrupted(config, tmp_path / "run", console)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"")
    run(config, tmp_path / "run", console)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_only_the_same_run_goes_on(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    folder = tmp_path / "run"
    at_step(7, kill(signal.SIGTERM))
    interrupted(make_config(), folder, console)
    with pytest.raises(UserError) as caught:
        run(make_config({"optimizer.lr": 0.02, "data.batch_size": 4}), folder, console)
    assert str(caught.value) == (
        f"{folder} belongs to a run with another config\n  data.batch_size: 8 there, 4 here\n"
        "  optimizer.lr: 0.01 there, 0.02 here\n"
        "  choose another folder, or use the same config"
    )
    assert make_config({"ckpt": "last"}).ckpt == "last"
    with pytest.raises(UserError, match=r"ckpt=last: .*/none contains no run\n  remove ckpt to start a new run"):
        run(make_config({"ckpt": "last"}), tmp_path / "none", console)
    run(make_config({"ckpt": "last", "name": "renamed", "trainer.num_threads": 1}), folder, console)
    with pytest.raises(Finished, match=": this run is already finished"):
        run(make_config(), folder, console)


def test_a_finished_run_goes_on_when_its_end_moves(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    constant = {"scheduler": {"kind": "constant"}}
    run(make_config({**constant, "trainer.max_epochs": 2}), tmp_path / "run", console)
    longer = make_config({**constant, "trainer.max_epochs": 3})
    at_step(11, kill(signal.SIGTERM))
    assert "after step 12 (epoch 3)" in interrupted(longer, tmp_path / "run", console)
    assert run(longer, tmp_path / "run", console).epochs == 3
    run(longer, tmp_path / "whole", console)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_checkpoint_can_be_named(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    config = make_config()
    run(config, tmp_path / "whole", console)
    earlier = tmp_path / "whole" / "checkpoints" / "step-000000010.ckpt"
    run(config.replace(ckpt=str(earlier)), tmp_path / "branch", console)
    assert_same_run(tmp_path / "whole", tmp_path / "branch")
    newest = tmp_path / "whole" / "checkpoints" / "step-000000015.ckpt"
    for folder in (newest.parent, newest.parent.parent, tmp_path):  # tmp_path/whole is its first run, branch its newest
        found, notes = find(tmp_path / "third", config.replace(ckpt=str(folder)))
        expected = tmp_path / "branch" / "checkpoints" / newest.name if folder == tmp_path else newest
        assert (found.path, notes) == (expected, [f"resuming from {expected}"])
    (tmp_path / "none" / "deep").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^ckpt={tmp_path}/none\n  this folder contains no run$"):
        run(config.replace(ckpt=str(tmp_path / "none")), tmp_path / "third", console)
    (tmp_path / "none" / "config.yaml").touch()
    with pytest.raises(UserError, match=rf"^ckpt={tmp_path}/none: {tmp_path}/none has no checkpoint\n  choose ano"):
        run(config.replace(ckpt=str(tmp_path / "none")), tmp_path / "third", console)
    with pytest.raises(UserError, match=r"ckpt=.*/none.ckpt: No such file or directory"):
        run(config.replace(ckpt=str(tmp_path / "none.ckpt")), tmp_path / "third", console)
    end = tmp_path / "whole" / "checkpoints" / "step-000000015.ckpt"
    with pytest.raises(UserError, match=r"step-000000015.ckpt: this is the last checkpoint of a finished run"):
        run(make_config({"ckpt": str(end), "trainer.max_epochs": 4}), tmp_path / "third", console)
    earlier.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"step-000000010.ckpt\n  not a checkpoint of e3frame: it is cut off"):
        run(config.replace(ckpt=str(earlier)), tmp_path / "third", console)


def test_a_run_killed_after_its_training_only_evaluates(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    config = make_config()
    run(config, tmp_path / "whole", console)
    run(config, tmp_path / "run", console)
    for name in ("metrics.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    at_step(0, lambda: pytest.fail("it trained"))
    run(config, tmp_path / "run", console)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_tensorboard_has_each_step_once(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config({"logger": {"kind": "tensorboard"}})
    run(config, tmp_path / "whole", console)
    # Killed in effect: the epoch it was in is logged, and then done again.
    at_step(11, lambda: (kill(signal.SIGINT)(), kill(signal.SIGINT)()))
    interrupted(config, tmp_path / "run", console)
    (tmp_path / "run" / "checkpoints" / "step-000000010.ckpt").unlink()
    run(config, tmp_path / "run", console)
    found = []
    for folder in (tmp_path / "whole", tmp_path / "run"):
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        found.append([(event.step, event.value) for event in events.Scalars("val_loss")])
    assert found[0] == found[1]
    assert [step for step, _ in found[0]] == [4, 9, 14]


def test_workers_change_no_weight(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    dropout = {"model.layers.act": {"kind": "dropout", "p": 0.2}, "trainer.max_epochs": 2}
    for workers in (0, 2):
        run(make_config({**dropout, "data.num_workers": workers}), tmp_path / str(workers), console)
    assert_same_run(tmp_path / "0", tmp_path / "2")


def test_a_full_disk_is_said_and_loses_nothing(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config, folder, space = make_config(), tmp_path / "run", files.os.fsync
    run(config, tmp_path / "whole", console)
    at_step(7, lambda: monkeypatch.setattr(files.os, "fsync", full))
    with pytest.raises(UserError) as caught:
        run(config, folder, console)
    assert str(caught.value) == (
        f"{folder}/checkpoints/step-000000010.ckpt cannot be written: No space left on device\n"
        "  what was written before is complete; the same command continues from there"
    )
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000000005.ckpt"]
    monkeypatch.setattr(files.os, "fsync", space)
    run(config, folder, console)
    assert_same_run(tmp_path / "whole", folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    files.append_line(path, "a,b")
    with pytest.raises(UserError, match=r"/dev/full cannot be written: No space left on device"):
        files.append_line(Path("/dev/full"), "1,2")
    monkeypatch.setattr(files, "_write", lambda file, content: file.write(content[:1]))
    with pytest.raises(UserError, match=r"metrics.csv cannot be written: No space left on device"):
        files.append_line(path, "1,2")
    assert path.read_text() == "a,b\n"


def test_weights_that_are_not_finite_are_not_saved(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Training.on_train_batch_end

    def spoiled(self: Training, *arguments: Any) -> None:
        original(self, *arguments)
        if self.global_step == 10:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(Training, "on_train_batch_end", spoiled)
    config = make_config({"trainer.check_val_every_n_epoch": 3})
    with pytest.raises(UserError) as caught:
        run(config, tmp_path / "run", console)
    first, hint = str(caught.value).splitlines()
    assert first.startswith("the weights are not finite after step 10: layers.")
    assert hint == "  lower optimizer.lr, or set trainer.gradient_clip_val"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000005.ckpt"]


def test_a_gradient_that_is_not_finite_names_its_weights(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Training.on_after_backward

    def spoiled(self: Training) -> None:
        original(self)
        if self.global_step == 6:
            self.model.layers["readout"].weight.grad[0] = torch.inf

    monkeypatch.setattr(Training, "on_after_backward", spoiled)
    with pytest.raises(UserError) as caught:
        run(make_config(), tmp_path / "run", console)
    first, frames, hint = str(caught.value).splitlines()
    assert first == "the gradient is not finite at step 6 (epoch 2): layers.readout.weight"
    assert frames.startswith("  data=sample, frames ")
    assert hint == "  lower optimizer.lr, set trainer.gradient_clip_val, or check these frames"
    assert history(tmp_path / "run")[-1]["epoch"] == "1"


STATE = {
    "global_step": 3,
    "optimizer": {0: (1, 2.5, None), "$tensor": True, 1: [torch.arange(3), {"nan": float("inf")}]},
    "half": torch.randn(2, 3).to(torch.bfloat16),
    "scalar": torch.tensor(1.5, dtype=torch.float64),
    "empty": {},
}


def test_a_checkpoint_is_what_was_written(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt", STATE, {"seed": 1})
    read = read_checkpoint(path)
    assert differing(read.state, STATE) == []
    assert (read.config, read.step, read.done) == ({"seed": 1}, 3, False)
    with pytest.raises(TypeError, match="model: a checkpoint cannot hold a Linear"):
        write_checkpoint(path, {"global_step": 1, "model": torch.nn.Linear(1, 1)}, {})


def test_every_damaged_byte_is_seen(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt", STATE, {"seed": 1})
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises((Damaged, UserError)):
            read_checkpoint(path)


def test_what_is_newer_older_or_of_other_conventions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    monkeypatch.setattr("e3frame.training.checkpoint.FORMAT", FORMAT + 1)
    write_checkpoint(path, STATE, {})
    monkeypatch.undo()
    with pytest.raises(
        UserError,
        match=rf"a.ckpt: its format {FORMAT + 1} is newer than format {FORMAT} of the "
        rf"installed e3frame",
    ):
        read_checkpoint(path)
    monkeypatch.setattr("e3frame.training.checkpoint.CONVENTIONS", "another basis")
    write_checkpoint(path, STATE, {})
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"a.ckpt: its conventions are 'another basis', but those of this version are"):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=r"a.ckpt is not read: .* pickled .* can run any code"):
        read_checkpoint(path)
