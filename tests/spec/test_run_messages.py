"""Mistakes in overrides, and how the command line behaves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.choices import overrides_for

from e3frame.cli import main
from e3frame.compose import config_folder, load_run
from e3frame.spec.errors import UserError

CASES = yaml.safe_load(Path(__file__).with_name("wrong_runs.yaml").read_text(encoding="utf-8"))
ROOT = config_folder().parent


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["overrides"]))
def test_wrong_run(case: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as caught:
        load_run(case["overrides"])
    assert str(caught.value).rstrip() == case["message"].rstrip()


def test_there_are_enough() -> None:
    assert len(CASES) >= 20


@pytest.mark.parametrize("verb", ["check", "train"])
def test_a_mistake_is_one_message_and_exit_code_1(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "model=neqip"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "command-line override model=neqip  model\n  there is no model config named neqip\n  did you mean nequip?\n"
    )


def test_check_prints_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["check", "configs/model/nequip.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "r_max 5 Å, species auto"
    conv = next(line for line in lines if line.startswith("first_conv")).split()
    assert conv == ["first_conv", "convolution", "node", "96x0e", "+", "32x1o", "+", "32x2e", "352", "16,896"]
    assert next(line for line in lines if line.startswith("total")).split() == ["total", "81,440", "+", "6,176", "S"]


def test_check_counts_the_species_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model=nequip", "data=sample"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("r_max 5 Å, species auto: H C N O\n")
    assert ["total", "106,144"] in [line.split() for line in out.splitlines()]
    assert out.endswith(" of 400 test frames; use --full for all\n")
    assert main(["check", "--no-data", "model=nequip", "data=sample"]) == 0
    assert "\nchecked" not in capsys.readouterr().out


TARGETS = [
    ["target", "irreps", "per", "unit", "weight", "output", "label"],
    ["energy", "1x0e", "graph", "eV", "1", "sum of readout", "E"],
    ["forces", "1x1o", "node", "eV/Å", "1", "negative_gradient of energy", "F"],
    ["stress", "ij=ji: 1x0e + 1x2e", "graph", "eV/Å³", "10", "strain_gradient of energy", "V"],
    ["q", "ij=ji: 1x0e + 1x2e", "edge", "meV", "1 from 0, 0.5 from 50", "linear of edge_sh", "Q of ij"],
    ["charges", "1x0e", "node", "e", "0", "linear of last_gate", "the sum: C"],
]


def test_check_lists_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its type, unit, weight, output and key; and what the model reads."""
    edges = "data.edges={q: {index: ij}}"
    keys = "data.keys={energy: E, forces: F, virial: V, q: Q, total_charge: C}"
    more = [
        "model.inputs.total_charge=0e",
        "model.outputs.q={kind: linear, of: edge_sh, irreps_out: 0e + 2e}",
        "task.targets.q={cartesian: 'ij=ji', per: edge, unit: meV, weight: {0: 1, 50: 0.5}}",
        "model.outputs.charges={kind: linear, of: last_gate, irreps_out: 0e}",
        "task.targets.charges={irreps: 0e, per: node, sum: total_charge, weight: 0}",
    ]
    files = ["data=xyz", "data.path=a.xyz", keys, edges]
    assert main(["check", "--no-data", "model=nequip_small", "task=energy_forces_stress", *files, *more]) == 0
    printed = capsys.readouterr()
    assert "  nothing reads 'total_charge'\n  remove this input, or use it in a layer\n" in printed.err
    lines = [line.rstrip() for line in printed.out.splitlines()]
    start = next(k for k, line in enumerate(lines) if line.startswith("target "))
    assert [re.split(r"\s{2,}", line) for line in lines[start : start + 6]] == TARGETS
    assert [line.split() for line in lines[start + 7 :]] == [
        ["input", "irreps", "per", "key"],
        ["total_charge", "1x0e", "graph", "C"],
    ]


def test_check_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (config_folder() / "model" / "nequip.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("  readout:", "  spare: {kind: radial_basis}\n  readout:"))
    assert main(["check", str(file)]) == 0
    line = 1 + file.read_text().splitlines().index("  spare: {kind: radial_basis}")
    expected = f"warning: {file}:{line}:3  layers.spare\n  nothing reads 'spare'\n  remove this layer, or use it\n"
    assert capsys.readouterr().err == expected


TORCH = {"torch", "lightning", "torch_geometric", "torchmetrics", "ase", "numpy", "scipy", "matplotlib", "safetensors"}
HYDRA = {"hydra", "omegaconf", "antlr4"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ("configs/model/nequip.yaml", TORCH | HYDRA),
        ("configs/model/tfn.yaml", TORCH | HYDRA),
        ("run.yaml --no-data", TORCH | HYDRA),
        ("model=nequip --no-data", TORCH),
        ("model=nequip data=md17 data.molecule=ethanol data.root=none", TORCH),
    ],
)
def test_check_imports_little(arguments: str, absent: set[str], tmp_path: Path) -> None:
    """Before it looks at data, if any are to be looked at."""
    config = load_run(["model=tfn"]).config
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    code = (
        "import sys; from e3frame.cli import main; code = main(['check', *sys.argv[1:]]);"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *arguments.replace("run.yaml", str(file)).split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.split())
    assert {"e3frame", "pydantic"} <= imported
    assert not imported & absent


def test_unknown_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chek"]) == 1
    assert capsys.readouterr().err == "e3frame: unknown command chek; did you mean check?\n"
    assert main([]) == 0
    assert "e3frame COMMAND --help" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["check", "--help"], ["layers"]])
def test_a_reader_that_stops_early(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "e3frame.cli", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr.read() == b""  # type: ignore[union-attr]


def test_every_config_composes() -> None:
    models = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
    experiments = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
    assert len(models) >= 3
    assert len(experiments) >= 2
    for model in models:
        load_run(overrides_for("model", model))
    for experiment in experiments:
        load_run([f"experiment={experiment}"])
    for group in ("optimizer", "scheduler", "task", "trainer"):
        choices = sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))
        assert choices
        for choice in choices:
            load_run(overrides_for(group, choice))


def test_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = (config_folder() / "model" / "nequip.yaml").read_text(encoding="utf-8")
    for name, text in {
        "mine/model/small.yaml": preset.replace("32x", "8x"),
        "mine/experiment/first.yaml": "# @package _global_\ndefaults:\n  - override /model: small\n"
        "model:\n  layers:\n    first_conv: {irreps_out: 9x9e}\n",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    assert main(["check", "--config-dir", "mine", "model=small"]) == 0
    capsys.readouterr()
    assert main(["check", "--config-dir", "mine", "experiment=first"]) == 1
    assert capsys.readouterr().err == (
        "mine/experiment/first.yaml:6:30  model.layers.first_conv.irreps_out\n"
        "  9x9e is out of reach: 'species' (8x0e) ⊗ 'edge_sh' (1x0e+1x1o+1x2e) gives 0e, 1o, 2e\n"
    )
    Path("mine/model/small.yaml").write_bytes(b"r_max: 4 # \xc5\n")
    assert main(["check", "--config-dir", "mine", "model=small"]) == 1
    message = "mine/model/small.yaml:1:12\n  the file is not UTF-8: byte 0xc5\n  save the file as UTF-8\n"
    assert capsys.readouterr().err == message
    assert main(["check", "--config-dir", "mine", "model=nequip"]) == 0
    capsys.readouterr()
    Path("mine/model/small.yaml").write_text("# nothing yet\n", encoding="utf-8")
    assert main(["check", "--config-dir", "mine", "model=small"]) == 1
    message = "mine/model/small.yaml\n  a mapping is required at the top level; the file is empty\n"
    assert capsys.readouterr().err == message
    assert main(["check", "--config-dir", "nowhere", "model=small"]) == 1
    assert capsys.readouterr().err == "--config-dir nowhere: this folder does not exist\n"
