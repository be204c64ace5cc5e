"""Drawings of tensor products: every path and term is there, where and as it should be."""

from __future__ import annotations

import io

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from e3frame import o3
from e3frame.algebra.paths import (
    plan_convolution,
    plan_elementwise,
    plan_explicit,
    plan_full,
    plan_fully_connected,
    plan_square,
)
from e3frame.viz.tensor_product import degree_color, draw_tensor_product

MANY = "32x0e+16x0o+16x1o+16x1e+8x2e+8x2o"
PLANS = {
    "fully connected": plan_fully_connected("5x0e+5x1e", "6x0e+4x1e", "15x0e+3x1e"),
    "full": plan_full("2x0e+3x1o", "5x0e+7x1e"),
    "elementwise": plan_elementwise("5x0e+5x1e", "4x0e+6x1e"),
    "square": plan_square("5x1e+2e", "3x0e+2x2e"),
    "convolution": plan_convolution("32x0e+32x1o+32x2e+32x3o", "0e+1o+2e+3o"),
    "30 paths": plan_fully_connected(MANY, "0e+1o+2e", MANY),
    "no path": plan_fully_connected("1o", "1o", "0o"),
    "nothing": plan_fully_connected("", "", ""),
}


def paths(ax: Axes) -> list[PathPatch]:
    return [patch for patch in ax.patches if isinstance(patch, PathPatch)]


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("name", PLANS)
def test_every_path_and_term_is_drawn(name: str):
    plan = PLANS[name]
    figure, ax = draw_tensor_product(plan)
    drawn = paths(ax)
    assert len(drawn) == len(plan.instructions)
    for irreps in (plan.irreps_in1, plan.irreps_in2, plan.irreps_out):
        for mul_ir in irreps:
            assert (f"{mul_ir.mul}×{mul_ir.ir}" if mul_ir.mul > 1 else str(mul_ir.ir)) in labels(ax)
    for patch, ins in zip(drawn, plan.instructions, strict=True):
        color = degree_color(plan.irreps_out[ins.i_out].ir) if ins.has_weight else "#77818d"
        assert patch.get_edgecolor() == to_rgba(color, 0.85)
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("name", ["30 paths", "square", "convolution"])
def test_no_two_paths_coincide(name: str):
    curves = {tuple(patch.get_path().vertices.round(6).ravel()) for patch in paths(draw_tensor_product(PLANS[name])[1])}
    assert len(curves) == len(PLANS[name].instructions) > 0
    _, ax = draw_tensor_product(PLANS[name])
    starts = {tuple(patch.get_path().vertices[0].round(6)) for patch in paths(ax)}
    pairs = {ins[:2] for ins in PLANS[name].instructions}
    assert len(starts) == len(pairs), "each pair of inputs meets in its own point"


def test_labels_do_not_overlap():
    for plan in PLANS.values():
        figure, ax = draw_tensor_product(plan)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        for box in boxes:
            assert figure.bbox.containsx(box.x0)
            assert figure.bbox.containsx(box.x1)
            assert figure.bbox.containsy(box.y0)
            assert figure.bbox.containsy(box.y1)


def test_width_tells_the_coefficient():
    paths_ = [(0, 0, 0, "uuu", True, 1.0), (0, 1, 0, "uuu", True, 0.25), (1, 0, 1, "uuu", False, 0.0)]
    plan = plan_explicit("2x0e+2x1o", "2x0e+2x0e", "2x0e+2x1o", paths_, path_normalization="none")
    strong, weak, none = paths(draw_tensor_product(plan)[1])
    assert strong.get_linewidth() > weak.get_linewidth() > none.get_linewidth()
    assert (strong.get_linestyle(), none.get_linestyle()) == ("-", ":")


def test_width_tells_the_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = o3.FullyConnectedTensorProduct("4x0e+4x1o", "4x0e+4x1o", "4x0e")
    with torch.no_grad():
        module.weight_view_for_instruction(0).mul_(0.1)
        module.weight_view_for_instruction(1).mul_(10.0)

    def widths(**options):
        return [patch.get_linewidth() for patch in paths(module.visualize(**options)[1])]

    assert widths()[0] < 0.5 * widths()[1]
    assert widths(plot_weight=False)[0] == pytest.approx(widths(plot_weight=False)[1])
    assert widths(weight=torch.ones(module.weight_numel))[0] == pytest.approx(widths(plot_weight=False)[0])
    outside = o3.FullyConnectedTensorProduct("2x0e", "2x0e", "2x0e", shared_weights=False)
    assert len(paths(outside.visualize()[1])) == len(paths(outside.visualize(torch.randn(5, 8))[1])) == 1


def test_visualize_as_e3nn_does():
    module = o3.TensorSquare("5x1e+2e")
    figure, ax = module.visualize()
    assert isinstance(figure, Figure)
    assert "TensorSquare" in labels(ax)
    own = Figure()
    panel = own.add_subplot(1, 2, 1)
    assert module.visualize(ax=panel, aspect_ratio="auto") == (own, panel)
    assert not any("paths" in label for label in labels(panel))


def test_aspect_ratio():
    plan = PLANS["full"]
    narrow, wide = (draw_tensor_product(plan, aspect_ratio=ratio)[0].get_size_inches() for ratio in (1, 2.0))
    assert wide[0] > 1.4 * narrow[0]
    assert wide[1] <= narrow[1]
    for wrong in ("equal", 0, -1.0):
        with pytest.raises(ValueError, match=rf"^aspect_ratio must be a positive number or 'auto', got {wrong!r}$"):
            draw_tensor_product(plan, aspect_ratio=wrong)


def test_what_no_path_reaches_is_pale():
    plan = plan_fully_connected("5x1o", "3x1o", "20x0e+4x1o")
    _, ax = draw_tensor_product(plan)
    colors = {text.get_text(): text.get_color() for text in ax.texts}
    assert colors["20×0e"] != colors["4×1o"] == "#8a94a0"


def test_degrees_and_parities_have_their_own_colors():
    colors = {degree_color(o3.Irrep(l, p)) for l in range(8) for p in (1, -1)}  # noqa: E741
    assert len(colors) == 16
