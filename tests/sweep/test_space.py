"""The space as Optuna sees it, and as it is written into the run config."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from e3frame.algebra.irreps import Irreps
from e3frame.compose import Composer, compose_config
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.validate import SpecErrors, validate
from e3frame.sweep.points import override, suggest
from e3frame.sweep.space import IrrepsSpec
from e3frame.sweep.spec import (
    HyperbandSpec,
    MedianSpec,
    NoPruning,
    PrunerSpec,
    RandomSpec,
    SamplerSpec,
    SweepSpec,
    TpeSpec,
)
from e3frame.sweep.trials import Trial, best, front

TEXTS = ["8x0e + 8x1o", "gate(hidden)", "bessel", "true", "null", "it's", "a,b", ""]
VALUES = [*TEXTS, 1, 0.5, 1e-7, True, None, [1, [2.5, "x"]], {"kind": "polynomial", "p": 6}]


def spec_of(space: dict[str, Any], **more: Any) -> SweepSpec:
    return validate(SweepSpec, {"name": "one", "space": space, **more})


def distributions(space: dict[str, Any]) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    suggest(spec_of(space), trial)
    return trial.distributions


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"low": 1, "high": 4}, IntDistribution(1, 4)),
        ({"low": 2, "high": 8, "step": 2}, IntDistribution(2, 8, step=2)),
        ({"low": 4, "high": 64, "log": True}, IntDistribution(4, 64, log=True)),
        ({"low": 0.5, "high": 2.0}, FloatDistribution(0.5, 2.0)),
        ({"low": 0, "high": 1.5, "step": 0.5}, FloatDistribution(0, 1.5, step=0.5)),
        ({"low": 1e-4, "high": 1e-2, "log": True}, FloatDistribution(1e-4, 1e-2, log=True)),
        (["a", None, 1, True, [1, 2]], CategoricalDistribution(["a", None, 1, "true", "[1, 2]"])),
        ({"choices": [1, 2]}, CategoricalDistribution([1, 2])),
    ],
    ids=str,
)
def test_every_form(raw: Any, expected: Any) -> None:
    assert distributions({"key": raw}) == {"key": expected}


def test_irreps_have_a_parameter_for_each_choice() -> None:
    space = {"a": {"irreps": {"mul": [4, 8], "l_max": [1, 2], "parity": [False, True]}}}
    assert set(distributions(space)) == {"a.mul", "a.l_max", "a.parity"}
    assert set(distributions({"a": {"irreps": {"mul": [4], "l_max": [1, 2]}}})) == {"a.l_max"}
    trial = FixedTrial({"a.mul": 4, "a.l_max": 2, "a.parity": True})
    assert suggest(spec_of(space), trial) == ["a='4x0e + 4x0o + 4x1o + 4x1e + 4x2e + 4x2o'"]


@pytest.mark.parametrize("l_max", range(4))
def test_irreps_have_the_multiplicity_and_the_parity_that_was_asked_for(l_max: int) -> None:
    spec = IrrepsSpec(mul=[3], l_max=[l_max])
    assert Irreps(spec.irreps(3, l_max, False)) == Irreps([(3, ir) for _, ir in Irreps.spherical_harmonics(l_max)])
    both = Irreps(spec.irreps(3, l_max, True))
    assert both.dim == 6 * (l_max + 1) ** 2
    assert {(mul, ir.l, ir.p) for mul, ir in both} == {(3, l, p) for l in range(l_max + 1) for p in (1, -1)}  # noqa: E741


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_an_override_means_the_value(value: Any) -> None:
    raw = Composer(["model=nequip_small"]).compose([override("extra", value)]).raw
    assert json.dumps(raw["extra"]) == json.dumps(value)


def test_composing_many_is_composing_each() -> None:
    composer = Composer(["model=nequip_small", "data.batch_size=3"])
    for point in (
        ["optimizer.lr=0.1"],
        ["model.irreps.hidden=4x0e + 4x1o", "optimizer=adamw", "optimizer.lr=0.2"],
        ["~model.outputs.forces", "task=energy"],
        [],
        ["optimizer.lr=0.3"],
    ):
        one, other = composer.compose(point), compose_config(["model=nequip_small", "data.batch_size=3", *point])
        assert one.raw == other.raw
        assert one.sources == other.sources
    with pytest.raises(UserError, match="there is no optimizer config named adamv"):
        composer.compose(["optimizer=adamv"])


def test_the_same_point_is_drawn_from_the_same_stream() -> None:
    space = spec_of({"a": {"low": 0.0, "high": 1.0}, "b": [1, 2, 3, 4, 5, 6]})

    def drawn(sampler: SamplerSpec, stream: int) -> list[str]:
        return suggest(space, optuna.create_study(sampler=sampler.build(stream)).ask())

    for sampler in (RandomSpec(seed=1), TpeSpec(seed=1)):
        draws = [drawn(sampler, stream) for stream in range(5)]
        assert draws == [drawn(sampler, stream) for stream in range(5)]
        assert len({tuple(draw) for draw in draws}) == 5
    assert drawn(RandomSpec(seed=1), 0) != drawn(RandomSpec(seed=2), 0)


def test_every_sampler_and_pruner_is_built() -> None:
    assert set(SamplerSpec.members) == {"random", "tpe"}
    assert set(PrunerSpec.members) == {"none", "median", "hyperband"}
    assert isinstance(NoPruning().build(3), optuna.pruners.NopPruner)
    study = optuna.create_study(pruner=MedianSpec(startup_trials=2, warmup_epochs=1).build(3))
    assert [_ended(study, value) for value in (1.0, 2.0, 3.0, 0.5)] == [None, None, 2, None]
    study = optuna.create_study(study_name="fixed", pruner=HyperbandSpec(min_epochs=1, reduction_factor=2).build(4))
    ended = [_ended(study, float(value)) for value in range(30)]
    assert ended[0] is None
    assert {1, 2} <= set(ended)


def _ended(study: optuna.Study, value: float) -> int | None:
    """The epoch after which a trial was ended, of four."""
    trial = study.ask()
    for epoch in range(1, 5):
        trial.report(value, epoch)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    study.tell(trial, value)
    return None


def test_the_front_holds_what_nothing_beats() -> None:
    values = [(3.0, 1.0), (2.0, 2.0), (2.0, 3.0), (1.0, 4.0), (3.0, 1.0), (4.0, 4.0)]
    trials = [Trial(number, "complete", {}, pair) for number, pair in enumerate(values)]
    trials.append(Trial(6, "repeated", {}, (0.0, 0.0)))
    assert [trial.number for trial in front(trials)] == [3, 1, 0, 4]
    assert best(trials).number == 3
    assert best(trials[6:]) is None
    assert front([]) == []


def test_a_spec_goes_through_yaml() -> None:
    spec = spec_of({"a": [1, 2], "b": {"irreps": {"mul": [4], "l_max": [1]}}}, pruner={"kind": "hyperband"})
    assert validate(SweepSpec, spec.model_dump(mode="json")) == spec
    with pytest.raises(SpecErrors):
        spec_of({"a": [1, 2]}, trials=0)
    with pytest.raises((SpecError, SpecErrors)):
        spec_of({})
