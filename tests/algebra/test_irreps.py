"""Irreps: their written form, its errors, and the operations on them, against e3nn."""

from __future__ import annotations

import copy
import pickle
import random
import subprocess
import sys

import e3nn.o3
import pytest
import torch

from e3frame.algebra import Irrep, Irreps, IrrepsSyntaxError, MulIr


def random_irreps(rng: random.Random, terms: int = 4) -> Irreps:
    return Irreps([(rng.randint(0, 3), (rng.randint(0, 3), rng.choice([-1, 1]))) for _ in range(rng.randint(0, terms))])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("  ", ""),
        ("0e", "1x0e"),
        ("2y + 3y", "1x2e+1x3o"),
        ("32x0e + 16x1o", "32x0e+16x1o"),
        (" 3 x 1 e+0x2o ", "3x1e+0x2o"),
    ],
)
def test_reads_text(text: str, canonical: str) -> None:
    assert repr(Irreps(text)) == canonical
    assert Irreps(canonical) == Irreps(text)
    assert repr(e3nn.o3.Irreps(text)) == canonical


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("32x0e + 1", 9, "parity e or o after '1'"),
        ("8x1", 3, "parity e or o after '1'"),
        ("8x1O", 3, "parity e or o after '1'"),
        ("8 1o", 2, "parity e or o after '8'"),
        ("8x", 2, "a degree l after '8x'"),
        ("8xo", 2, "a degree l after '8x'"),
        ("2x2x1e", 3, "parity e or o after '2'"),
        ("x1e", 0, "an irrep such as 1o or 8x1o"),
        ("-1x0e", 0, "an irrep such as 1o or 8x1o"),
        ("+1o", 0, "an irrep such as 1o or 8x1o"),
        ("1o +", 4, "an irrep such as 1o or 8x1o after '+'"),
        ("0e ++ 1o", 4, "an irrep such as 1o or 8x1o after '+'"),
        ("0e, 1o", 2, "'+' or the end"),
        ("0e 1o", 3, "'+' or the end"),
        ("1.5x0e", 1, "parity e or o after '1'"),
        ("１x0e", 0, "an irrep such as 1o or 8x1o"),
    ],
)
def test_says_where_the_text_goes_wrong(text: str, offset: int, expected: str) -> None:
    with pytest.raises(IrrepsSyntaxError) as caught:
        Irreps(text)
    error = caught.value
    assert (error.text, error.offset, error.expected) == (text, offset, expected)
    assert str(error) == f"cannot read {text!r} at character {offset}: expected {expected}"
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset) == (str(error), offset)
    with pytest.raises(ValueError, match="Unable to convert"):
        e3nn.o3.Irreps(text if text.isascii() else "?")


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "a degree l such as the 1 of 1o"),
        ("e", 0, "a degree l such as the 1 of 1o"),
        ("1", 1, "parity e or o after '1'"),
        ("3x1o", 1, "parity e or o after '3'"),
        ("1o + 2e", 3, "nothing after one irrep"),
    ],
)
def test_says_where_one_irrep_goes_wrong(text: str, offset: int, expected: str) -> None:
    with pytest.raises(IrrepsSyntaxError) as caught:
        Irrep(text)
    assert (caught.value.offset, caught.value.expected) == (offset, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Irrep(-1, 1), r"the degree l of an irrep must be at least 0, got -1"),
        (lambda: Irrep(1, 2), r"the parity of an irrep must be 1 \(even\) or -1 \(odd\), got 2"),
        (lambda: Irrep(1), r"an irrep is a degree l and a parity.*got 1"),
        (lambda: Irrep(1.5, 1), r"an irrep is a degree l and a parity.*got 1.5"),
        (lambda: MulIr(-1, "0e"), r"a multiplicity must be at least 0, got -1"),
        (lambda: MulIr("2", "0e"), r"a multiplicity must be an integer, got '2'"),
        (lambda: Irreps(3), r"irreps are text such as .* got 3"),
        (lambda: Irreps([3]), r"each term of irreps must be .* got 3"),
        (lambda: Irreps().lmax, r"empty irreps have no lmax"),
        (lambda: Irreps("0e").filter("0e", lmax=1), r"filter takes only one of keep, drop and lmax"),
        (lambda: Irreps("0e").randn(3), r"randn needs exactly one -1 in its size.*got \(3,\)"),
        (lambda: Irreps("0e").randn(-1, normalization="x"), r"normalization must be 'component' or 'norm', got 'x'"),
    ],
)
def test_says_what_is_wrong(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_refuses_ambiguous_operations() -> None:
    with pytest.raises(NotImplementedError, match=r"o3\.FullTensorProduct"):
        Irreps("0e") * Irreps("0e")
    with pytest.raises(NotImplementedError, match="ambiguous"):
        Irreps("0e").index("0e")
    with pytest.raises(IndexError, match="takes a slice"):
        Irreps("0e").slice_by_mul[0]  # type: ignore[index]
    with pytest.raises(NotImplementedError, match="no step"):
        Irreps("2x0e").slice_by_mul[::2]


def test_all_forms_are_one() -> None:
    forms = ["8x0e+1o", [(8, (0, 1)), (1, "1o")], [(8, Irrep("0e")), Irrep("1o")], [MulIr(8, "0e"), "1o"]]
    assert len({Irreps(form) for form in forms}) == 1
    assert Irreps(Irreps("1o")) == Irreps(Irrep("1o")) == Irreps(MulIr(1, "1o")) == Irreps(["1o"])
    assert Irrep(MulIr(3, "1o")) == Irrep("1o") == Irrep("1y") == Irrep((1, -1)) == Irrep(1, -1)


def test_agrees_with_e3nn() -> None:
    rng = random.Random(0)
    for _ in range(100):
        a, b = random_irreps(rng), random_irreps(rng)
        oracle, other = e3nn.o3.Irreps(repr(a)), e3nn.o3.Irreps(repr(b))
        start, stop = sorted((rng.randint(0, 5), rng.randint(0, 5)))
        for ours, theirs in [
            (a.simplify(), oracle.simplify()),
            (a.regroup(), oracle.regroup()),
            (a.remove_zero_multiplicities(), oracle.remove_zero_multiplicities()),
            (a + b, oracle + other),
            (2 * a, 2 * oracle),
            (a * 2, oracle * 2),
            (a[1:], oracle[1:]),
            (a.filter(lmax=1), oracle.filter(lmax=1)),
            (a.filter(keep=["0e", "1o"]), oracle.filter(keep=["0e", "1o"])),
            (a.filter(drop="0e + 2o"), oracle.filter(drop=["0e", "2o"])),
            (a.filter(lambda m: m.mul > 1), oracle.filter(lambda m: m.mul > 1)),
            (a.filter(), oracle.filter()),
            (a.slice_by_mul[start:stop].simplify(), oracle.slice_by_mul[start:stop].simplify()),
            (a.sort().irreps, oracle.sort().irreps),
        ]:
            assert repr(ours) == repr(theirs)
        assert (a.sort().p, a.sort().inv) == (oracle.sort().p, oracle.sort().inv)
        assert (a.dim, a.num_irreps, a.ls, a.slices()) == (oracle.dim, oracle.num_irreps, oracle.ls, oracle.slices())
        assert a.count("1o") == oracle.count("1o")
        assert ("1o" in a) == ("1o" in oracle)
        if a.num_irreps > 0:
            assert a.lmax == oracle.lmax


def test_irrep_algebra() -> None:
    assert list(Irrep("1o") * Irrep("2e")) == [Irrep("1o"), Irrep("2o"), Irrep("3o")]
    assert [repr(ir) for ir in Irrep.iterator(2)] == ["0e", "0o", "1o", "1e", "2e", "2o"]
    assert [repr(ir) for ir in sorted(Irrep.iterator(2))] == ["0o", "0e", "1o", "1e", "2o", "2e"]
    assert repr(3 * Irrep("1e") + "2o") == "3x1e+1x2o"
    assert Irrep("0e").is_scalar()
    assert not Irrep("0o").is_scalar()
    assert Irreps("3x0e").is_scalar()
    assert not Irreps("0e + 0o").is_scalar()
    assert repr(Irreps.spherical_harmonics(2)) == "1x0e+1x1o+1x2e"
    assert repr(Irreps.spherical_harmonics(2, p=1)) == "1x0e+1x1e+1x2e"


@pytest.mark.parametrize("value", [Irrep("1o"), MulIr(2, "1o"), Irreps("2x1o + 0e")])
def test_values_are_copied_whole(value: object) -> None:
    for again in (copy.deepcopy(value), copy.copy(value), pickle.loads(pickle.dumps(value))):
        assert again == value
        assert type(again) is type(value)
        assert hash(again) == hash(value)


def test_random_tensors() -> None:
    irreps = Irreps("3x0e + 2x1o")
    generator = torch.Generator().manual_seed(0)
    x = irreps.randn(2, -1, 5, normalization="norm", dtype=torch.float64, requires_grad=True, generator=generator)
    assert x.shape == (2, 9, 5)
    assert x.requires_grad
    norms = x.detach()[:, 3:].reshape(2, 2, 3, 5).norm(dim=2)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert irreps.randn(2000, -1, generator=generator).var().item() == pytest.approx(1, abs=0.05)


def test_matrices_of_representations(generator: torch.Generator) -> None:
    from e3frame import o3

    irreps = Irreps("2x0o + 1e + 2o + 0x3e")
    oracle = e3nn.o3.Irreps(repr(irreps))
    alpha, beta, gamma = o3.rand_angles(4, dtype=torch.float64, generator=generator)
    k = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    R = o3.angles_to_matrix(alpha, beta, gamma)
    D = irreps.D_from_angles(alpha, beta, gamma, k)
    torch.testing.assert_close(D, oracle.D_from_angles(alpha, beta, gamma, k), atol=1e-6, rtol=0)
    close = {"atol": 1e-12, "rtol": 0}
    torch.testing.assert_close(irreps.D_from_matrix(R * (-1) ** k[:, None, None]), D, **close)
    torch.testing.assert_close(irreps.D_from_quaternion(o3.angles_to_quaternion(alpha, beta, gamma), k), D, **close)
    axis, angle = o3.angles_to_axis_angle(alpha, beta, gamma)
    torch.testing.assert_close(irreps.D_from_axis_angle(axis, angle), irreps.D_from_matrix(R), **close)
    torch.testing.assert_close(Irrep("1o").D_from_matrix(-R), -R, **close)
    torch.testing.assert_close(Irrep("1e").D_from_angles(alpha, beta, gamma), R, **close)
    assert Irreps().D_from_matrix(R).shape == (4, 0, 0)


def test_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from e3frame.algebra import irreps, paths; paths.plan_full('0e + 1o', '1o'); "
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
