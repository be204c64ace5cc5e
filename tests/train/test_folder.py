"""The folder of a run belongs to one process at a time, and what others have put there is theirs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support.runs import MakeConfig, run
from support.stops import interrupted, kill

from e3frame.files import parts
from e3frame.run.folder import LOCK, locked
from e3frame.spec.errors import UserError

HERE = parts._here()
OWN = ("config.yaml", "data.json", "metrics.csv", "metrics.json", "model.safetensors", "report.html")
OWN += ("learning_curve.png", "parity_energy.png")
FOREIGN = (
    "x.part",
    *("model.safetensors.part", f"model.safetensors.{os.getpid()}.part", "model.safetensors.bak", "metrics.json.part"),
    *("config.yml", "config.yaml.part", "step-7.ckpt", "notes.txt", ".hidden", "report.htm", "parity.png"),
    *(f".{os.getpid()}", f"model.safetensors.{HERE}-{os.getpid()}-0a1b.part"),  # of a process that lives
    *(f"weights.{HERE}-1234567890-0a1b.part", f"model.safetensors.{'0' * 12}-1-0a1b.part"),  # others' names, elsewhere
    *("old/model.safetensors.part", "old/config.yaml", "old/checkpoints/step-000000001.ckpt", "tensorboard/x.part"),
)
IN_CHECKPOINTS = (
    *("step-7.ckpt", "step-99.ckpt", "step-last.ckpt", "last.ckpt", "epoch=3-step=20.ckpt", "step-000000099.ckpt.part"),
    *("step-000000099.ckpt.bak", "step--00000009.ckpt", "a.part", "step-000000099.pt"),
)


def plant(folder: Path, names: tuple[str, ...]) -> dict[Path, bytes]:
    planted = {folder / name: f"not of this run: {name}".encode() for name in names}
    for path, content in planted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return planted


def test_what_others_have_put_there_stays(
    make_config: MakeConfig, tmp_path: Path, console: Console, at_step: Callable
) -> None:
    """Through a new run, a session that goes on, and the end; around the folder too."""
    folder, config = tmp_path / "run", make_config({"trainer.checkpoint_steps": 2})
    planted = plant(folder, FOREIGN) | plant(tmp_path, (*FOREIGN, *OWN))
    at_step(7, kill(signal.SIGTERM))
    interrupted(config, folder, console)
    planted |= plant(folder / "checkpoints", IN_CHECKPOINTS)
    run(config, folder, console)
    assert len(planted) == 2 * len(FOREIGN) + len(OWN) + len(IN_CHECKPOINTS)
    changed = [str(path) for path, content in planted.items() if not path.exists() or path.read_bytes() != content]
    assert not changed
    assert (folder / "metrics.json").exists()


def test_what_a_killed_session_left_is_removed(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = plant(tmp_path / "run", tuple(f"{name}.{HERE}-{ended.pid}-0a1b.part" for name in OWN))
    run(make_config({"trainer.max_epochs": 1}), tmp_path / "run", console)
    assert len(left) == len(OWN)
    assert not [path for path in left if path.exists()]


@pytest.mark.parametrize("name", [*OWN[1:], "checkpoints/any"])
def test_a_new_run_writes_over_nothing(name: str, make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    planted = plant(tmp_path / "run", (name,))
    with pytest.raises(UserError) as caught:
        run(make_config(), tmp_path / "run", console)
    assert str(caught.value) == (
        f"{tmp_path}/run contains {name.partition('/')[0]}, but no config.yaml of a run to resume\n"
        "  choose another folder, or move these files away"
    )
    assert [path.read_bytes() for path in planted] == list(planted.values())
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name.partition("/")[0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", r"/run: its config is not valid in the installed version of e3frame: a unknown key"),
        ("- 1\n", r"/run/config.yaml\n  a mapping is required at the top level"),
        ("a: [\n", r"/run/config.yaml:2:1\n  this is not YAML"),
        ("a: \xff\n", r"/run/config.yaml:1:4\n  the file is not UTF-8: byte 0xff"),
    ],
)
def test_the_config_of_another_program(
    text: str, message: str, make_config: MakeConfig, tmp_path: Path, console: Console
) -> None:
    (file := tmp_path / "run" / "config.yaml").parent.mkdir()
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        run(make_config(), file.parent, console)
    assert file.read_text(encoding="latin-1") == text
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("name", [*OWN, "checkpoints"])
def test_a_pipe_is_no_file_of_a_run(name: str, make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / name)
    kind = "it is a named pipe, not a file" if name != "checkpoints" else "is not a folder"
    with pytest.raises(UserError, match=rf"run/{name}\s+{kind}\n  choose another folder for the run"):
        run(make_config(), tmp_path / "run", console)


def test_one_run_at_a_time(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    """Another process is named; when it is killed, its lock is gone with it, also where it has children."""
    code = (
        "import os, sys, time; from pathlib import Path; from e3frame.run.folder import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    if not os.fork(): time.sleep(60)\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError) as caught:
            run(make_config(), tmp_path, console)
        first, hint = str(caught.value).splitlines()
        assert first.startswith(f"{tmp_path}: process {other.pid} on {socket.gethostname()} since 20")
        assert first.endswith(" is training in this folder")
        assert hint == "  wait until it ends, or choose another folder"
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        other.kill()
        other.wait()
        with locked(tmp_path):
            assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    finally:
        os.killpg(other.pid, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / LOCK).write_text("not of this run")
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == "not of this run"
