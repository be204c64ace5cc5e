"""Speed and memory against e3nn, nequip and cuequivariance: both sides in one process, in turn, and the ratio.

    pip install "e3nn==0.6.0" "nequip==0.19.1" cuequivariance-torch
    python scripts/bench.py operator modules  # the convolution alone; products, linear maps, harmonics, gates
    python scripts/bench.py step              # training steps and inference of a NequIP
    python scripts/bench.py memory growth     # peak memory; time and memory against the number of edges and l
    python scripts/bench.py start             # of a new process
    python scripts/bench.py mace --mace-python ../mace/bin/python  # a MACE, against mace-torch in its own environment
    python scripts/bench.py all --threads 2 --out runs/bench

Every figure is the median of repetitions in which the sides take turns, so that a change of the machine's speed meets
all of them. Run it on a quiet machine. Peers that are not installed are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch
from bench_models import e3frame_step, nequip_step
from bench_operator import Convolution, peers, random_graph
from peak_memory import peak_of_steps
from rich.console import Console
from rich.table import Table

from e3frame.run.settings import keep_freed_memory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("operator", "modules", "step", "memory", "growth", "start", "mace")
CONVOLUTION = "convolution"


RUNS = 3
"""Of a side in its turn. The first is not counted: it finds the caches full of what the side before has left there,
which no training and no simulation does."""


def in_turn(sides: dict[str, Callable[[], object]], repetitions: int, warm_up: int = 2) -> dict[str, float]:
    """Median milliseconds of each side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + -(-repetitions // (RUNS - 1))):
        for name, run in sides.items():
            for k in range(RUNS):
                start = time.perf_counter()
                run()
                if turn >= warm_up and k:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def operator(repetitions: int) -> list[dict]:
    """Forward, forward + backward, and double backward of the convolution."""
    rows = []
    for mul, lmax in ((32, 2), (64, 2), (128, 2), (32, 3)):
        graph = random_graph(600, 9000)
        case = Convolution(mul, lmax, *graph)
        sides = peers(case)
        for what in ("forward", "forward_backward", "double_backward"):
            able = {name: getattr(side, what) for name, side in sides.items() if getattr(side, what)}
            found = in_turn(able, repetitions)
            rows.append(
                {
                    "case": f"{mul} channels, l <= {lmax}",
                    "what": what.replace("_", " + " if what == "forward_backward" else " "),
                    **found,
                }
            )
    return rows


def modules(repetitions: int) -> list[dict]:
    """Products, linear maps, harmonics and gates by themselves."""
    if not find_spec("e3nn"):
        return []
    from bench_modules import runs

    return [{"case": case, "what": what, **in_turn(sides, repetitions)} for case, what, sides in runs()]


def step(repetitions: int) -> list[dict]:
    """Training steps with energies and forces, and inference, at equal hyperparameters and numbers of parameters."""
    rows = []
    for label, graphs, atoms, periodic in (
        ("5 molecules of 15 atoms", 5, 15, False),
        ("32 molecules of 15 atoms", 32, 15, False),
        ("64 molecules of 15 atoms", 64, 15, False),
        ("periodic box of 216 atoms", 1, 216, True),
    ):
        sides = {"e3frame": e3frame_step(graphs, atoms, periodic)}
        if find_spec("nequip"):
            sides["nequip 0.19.1"] = nequip_step(graphs, atoms, periodic)
        assert len({side.num_parameters for side in sides.values()}) == 1, "the models differ"
        for what in ("train", "infer"):
            for side in sides.values():
                side.prepare(what)
            found = in_turn({name: getattr(side, what) for name, side in sides.items()}, repetitions)
            rows.append({"case": label, "what": what, **found})
    return rows


def mace(repetitions: int, python: str | None) -> list[dict]:
    """The symmetric product; then training steps, energies and forces, and peak memory of a MACE; ``python`` has
    mace-torch, with its own e3nn."""
    from bench_mace import rows
    from bench_symmetric import rows as products

    found = list(products(python, partial(in_turn, repetitions=min(repetitions, 6), warm_up=1)))
    return found + list(rows(python, partial(in_turn, repetitions=repetitions), peak_of))


def memory(_: int) -> list[dict]:
    """Peak memory of some training steps, above what importing and building cost, in processes of their own; MiB."""
    rows = []
    names = ["e3frame", *(["nequip 0.19.1"] if find_spec("nequip") else [])]
    for graphs in (5, 32, 64):
        row: dict = {"case": f"{graphs} molecules of 15 atoms", "what": "MiB"}
        for name in names:
            row[name] = peak_of(name, graphs)
        rows.append(row)
    return rows


def peak_of(name: str, size: int, channels: int = 32) -> float:
    """The median of `peak` in three processes: it depends on what building has left of freed memory."""
    what = [name, str(size), str(channels)]
    command = [sys.executable, __file__, "--peak", *what, "--threads", str(torch.get_num_threads())]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
    return median(float(run.stdout.split()[-1]) for run in runs)


def peak(name: str, size: int, channels: int) -> float:
    """MiB of some steps on ``size`` molecules, or of the convolution on as many edges; see `peak_of_steps`."""
    if name == CONVOLUTION:
        case = Convolution(channels, 2, *random_graph(size // 15, size, local=True))
        return peak_of_steps(case.forward_backward)
    if name == "mace":
        side = e3frame_step(size, 15, False, "mace", channels)
    else:
        side = (e3frame_step if name == "e3frame" else nequip_step)(size, 15, False)
    side.prepare("train")
    return peak_of_steps(side.train)


def growth(repetitions: int) -> list[dict]:
    """Forward + backward of the convolution against l, and against the number of edges (15 a node), with its memory."""
    rows = []
    for lmax in (1, 2, 3, 4):
        case = Convolution(32, lmax, *random_graph(600, 9000))
        found = in_turn({"e3frame": case.forward_backward}, repetitions)
        rows.append({"case": f"l <= {lmax}, 9000 edges", "what": "ms", **found})
    for edges in (1_000, 10_000, 100_000, 1_000_000):
        case = Convolution(32, 2, *random_graph(edges // 15, edges, local=True))
        found = in_turn({"e3frame": case.forward_backward}, max(3, repetitions // 3), 2)
        rows.append({"case": f"{edges} edges", "what": "µs per edge", "e3frame": 1e3 * found["e3frame"] / edges})
        kilobytes = 1024 * peak_of(CONVOLUTION, edges) / edges
        rows.append({"case": f"{edges} edges", "what": "KiB per edge", "e3frame": kilobytes})
    return rows


def start(_: int) -> list[dict]:
    """Seconds that a new process takes, the best of three, so that all files are in memory."""
    rows = []
    for case, code in (
        ("import of torch", "import torch"),
        ("import of e3frame.o3 and e3frame.nn", "import e3frame.o3, e3frame.nn"),
        ("and first training step", "import bench_models; bench_models.e3frame_step(5, 15, False).train()"),
        ("import of a training run", "import e3frame.run.training"),
    ):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
            times.append(time.perf_counter() - begin)
        rows.append({"case": case, "what": "s", "e3frame": min(times)})
    return rows


def show(part: str, rows: list[dict], console: Console) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("case", "what")))
    table = Table("case", "", *names, *(f"/ {name}" for name in names[1:]), title=part, title_justify="left")
    for row in rows:
        own = row["e3frame"]
        values = [f"{row[name]:.3g}" if name in row else "" for name in names]
        ratios = [f"{row[name] / own:.1f}x" if name in row else "" for name in names[1:]]
        table.add_row(row["case"], row["what"], *values, *ratios)
    console.print(table)


def draw(rows: list[dict], file: Path) -> None:
    """How many times faster, or smaller, than each peer; where there is no peer, the figures themselves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in rows[0] if name not in ("case", "what", "e3frame")]
    panels = [("peer / e3frame", rows)]
    if not names:
        kinds = list(dict.fromkeys(row["what"] for row in rows))
        panels = [(kind, [row for row in rows if row["what"] == kind]) for kind in kinds]
    heights = [0.32 * len(own) * max(len(names), 1) + 0.6 for _, own in panels]
    figure, axes = plt.subplots(
        len(panels), figsize=(8, sum(heights) + 0.6), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for ax, (label, own) in zip(axes[:, 0], panels, strict=True):
        if names:
            _bars(ax, [f"{row['case']}, {row['what']}" for row in own], _ratios(own, names), "{:.1f}")
            ax.legend(frameon=False)
        else:
            _bars(ax, [row["case"] for row in own], {"e3frame": [row["e3frame"] for row in own]}, "{:.3g}")
        ax.set_xlabel(label)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _ratios(rows: list[dict], names: list[str]) -> dict[str, list[float]]:
    return {name: [row.get(name, 0) / row["e3frame"] for row in rows] for name in names}


def _bars(ax: Axes, labels: list[str], values: dict[str, list[float]], digits: str) -> None:
    """A row for each label, with a bar for each name."""
    for k, (name, own) in enumerate(values.items()):
        at = [n + 0.8 * k / len(values) for n in range(len(own))]
        bars = ax.barh(at, own, height=0.75 / len(values), label=name)
        ax.bar_label(bars, [digits.format(value) if value else "" for value in own], padding=2, fontsize=8)
    ax.set_yticks([n + 0.4 * (len(values) - 1) / len(values) for n in range(len(labels))], labels)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=(*PARTS, "all", []), help="what to measure")
    parser.add_argument("--threads", type=int, default=2, help="of torch and of the kernels")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the JSON and PNG files")
    parser.add_argument("--mace-python", metavar="PATH", help="interpreter of an environment with mace-torch")
    parser.add_argument("--peak", nargs=3, metavar=("SIDE", "GRAPHS", "CHANNELS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_freed_memory()  # for all sides, as in a training run
    if arguments.peak:
        print(peak(arguments.peak[0], *map(int, arguments.peak[1:])))
        return
    if not arguments.parts:
        parser.error(f"name one or more of {', '.join(PARTS)}, or all")
    console = Console(width=max(Console().width, 130))
    console.print(
        f"torch {torch.__version__}, {arguments.threads} threads, float32; milliseconds unless it says otherwise"
    )
    missing = [name for name in ("e3nn", "nequip", "cuequivariance_torch") if not find_spec(name)]
    if missing:
        console.print(f"not installed, left out: {', '.join(missing)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in PARTS if "all" in arguments.parts else arguments.parts:
        options = {"python": arguments.mace_python} if part == "mace" else {}
        rows = globals()[part](arguments.repetitions, **options)
        if not rows:
            continue
        show(part, rows, console)
        (arguments.out / f"{part}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        draw(rows, arguments.out / f"{part}.png")


if __name__ == "__main__":
    main()
