"""Wrong arguments of every verb: one short message that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from e3frame.cli import VERBS, main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line) == 1, line
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage" not in err
    assert 2 <= err.count("\n") <= 4
    return err


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_of_any_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--frobnicate", "-q", "--hepl"):
        err = _refused([verb, option], capsys)
        assert err.startswith(f"{option}\n  unknown option\n  ")
        assert "--help" in err
    assert "\x1b" not in _refused([verb, "--a\x1b[2Jb"], capsys)


_E0S = "model.outputs.energy.per_species_scale_shift"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        *((f"{verb} --E0s=average", f"write {_E0S}=average") for verb in ("train", "check", "sweep")),
        *((f"{verb} --batch_size=3", "write data.batch_size=3") for verb in ("train", "check", "sweep", "evaluate")),
        *((f"{verb} --batch-size 3", "write data.batch_size=...") for verb in ("train", "check", "sweep")),
        ("predict --batch_size=3", "write batch_size=3"),
        ("train --device=cuda", "write trainer.accelerator=cuda"),
        ("evaluate model=a --device=cuda", "write device=cuda"),
        ("predict --device cuda", "write device=..."),
        ("predict --modle=a", "did you mean model=a?"),
        ("check --seed=3", "write seed=3"),
        ("train --trainer.max_epochs=3", "write trainer.max_epochs=3"),
        ("train --max-epochs=3", "write trainer.max_epochs=3"),
        ("sweep --sweep.trials=3", "write sweep.trials=3"),
        ("train --restart_latest", "write ckpt=last"),
        ("train --config_dir=a", "did you mean --config-dir?"),
        ("check --no_data", "did you mean --no-data?"),
        ("draw tp 1o --prodct=full", "did you mean --product?"),
    ],
)
def test_an_option_that_is_a_key(line: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(line.split(), capsys).endswith(f"\n  unknown option\n  {hint}\n")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("check --config-dir", "argument --config-dir: expected one argument"),
        ("train --config-dir", "argument --config-dir/-cd: expected one argument"),
        ("train --cfg foo", "argument --cfg/-c: invalid choice: 'foo' (choose from 'job', 'hydra', 'all')"),
        ("draw", "the following arguments are required: tp|sh|errors"),
        ("draw sh --dpi=x", "argument --dpi: invalid int value: 'x'"),
        ("irreps", "the following arguments are required: irreps"),
        ("schema foo", "unexpected argument: foo"),
        ("completion tcsh", "argument shell: invalid choice: 'tcsh' (choose from 'bash', 'zsh', 'fish')"),
    ],
)
def test_what_an_option_lacks(line: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb = line.split()[0]
    assert _refused(line.split(), capsys).startswith(f"e3frame {verb}")
    assert main(line.split()) == 1
    assert f"\n  {problem}\n  see e3frame {verb}" in capsys.readouterr().err


def test_options_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model=tfn", "--no-data", "seed=2"]) == 0
    for line in (["evaluate", "model=a", "--help"], ["predict", "model=a", "-h"], ["info", "a", "--help"]):
        capsys.readouterr()
        assert main(line) == 0
        assert capsys.readouterr().out.startswith(f"usage: e3frame {line[0]} ")


def test_a_number_in_a_list_of_texts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/data").mkdir(parents=True)
    Path("mine/data/listed.yaml").write_text("kind: xyz\npath: [a.xyz, 1e5]\n")
    err = _refused(["check", "--config-dir", "mine", "data=listed"], capsys)
    problem = "a text is required, got 100000.0"
    assert err == f"mine/data/listed.yaml:2:15  data.path.1\n  {problem}\n  quote it: '1e5'\n"
    err = _refused(["check", "data=xyz", "data.path=[a.xyz,1e5]"], capsys)
    assert err == f"command-line override data.path=[a.xyz,1e5]  data.path.1\n  {problem}\n"


@pytest.mark.parametrize(
    ("override", "below"),
    [
        ("hydra.run.dirr=x", "unknown key\n  to see the keys: e3frame train --cfg hydra -p hydra.run"),
        ("hydra.job.num=abc", "an integer is required, got abc"),
    ],
)
def test_wrong_values_of_hydra(override: str, below: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = _refused(["train", override], capsys)
    assert err == f"command-line override {override}  {override.partition('=')[0]}\n  {below}\n"
