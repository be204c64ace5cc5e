"""Reference energies: what compositions determine is found exactly, and what they do not is sane and named."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import atomic_numbers

from e3frame.data.pipeline.references import References, fit_references, free_atom_energy

ALL_ELECTRON = {"H": -13.61, "C": -1029.9, "N": -1485.3, "O": -2042.6, "Cl": -12520.0, "Br": -70040.0}
VALENCE = {"H": -3.4, "C": -9.2, "N": -8.3, "O": -4.9, "Cl": -1.8, "Br": -1.5}
SPECIES = tuple(VALENCE)


def true(table: dict[str, float], species: tuple[str, ...] = SPECIES) -> np.ndarray:
    return np.array([table[symbol] for symbol in species])


def fitted(rows: np.ndarray, energies: np.ndarray, species: tuple[str, ...] = SPECIES, **more: object) -> References:
    return fit_references(rows.astype(float), energies, species, **more)


@pytest.mark.parametrize("table", [ALL_ELECTRON, VALENCE], ids=["all electrons", "valence"])
@pytest.mark.parametrize("frames", [6, 7, 30, 1000])
def test_what_is_determined_is_exact(table: dict[str, float], frames: int) -> None:
    """Also of as many frames as elements, with all electrons of up to 1e5 eV an atom."""
    rows = np.random.default_rng(frames).integers(0, 9, (frames, 6)) + 20 * np.eye(6)[np.arange(frames) % 6]
    found = fitted(rows, rows @ true(table))
    np.testing.assert_allclose(found.energies, true(table), rtol=0, atol=1e-6)
    assert not found.undetermined.any()
    assert found.fixes(np.ones((3, 6))).all()


def test_nearly_the_same_compositions_without_noise_are_exact() -> None:
    rows = np.array([[100, 100], [101, 100], [100, 101], [102, 100], [100, 99], [100, 100]])
    found = fitted(rows, rows @ true(ALL_ELECTRON)[:2], SPECIES[:2])
    np.testing.assert_allclose(found.energies, true(ALL_ELECTRON)[:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("table", [ALL_ELECTRON, VALENCE], ids=["all electrons", "valence"])
def test_noise_is_not_taken_for_reference_energies(table: dict[str, float], seed: int) -> None:
    """Of compositions that differ by an atom in 800, the energy of any other composition stays sane."""
    rng, species = np.random.default_rng(seed), ("C", "O")
    rows = np.array([400, 400]) + rng.integers(0, 2, (40, 2))
    energies = rows @ true(table, species) + 20 * rng.normal(size=40)  # 25 meV an atom
    found = fitted(rows, energies, species)
    np.testing.assert_allclose(rows @ found.energies, energies, atol=80)
    plain = np.linalg.lstsq(rows, energies, rcond=None)[0]
    held_out = np.array([[12, 2], [1, 2], [3, 30]])
    right = held_out @ true(table, species)
    off = np.abs(held_out @ found.energies - right) / held_out.sum(1)
    assert off.max() < 10.0  # eV per atom
    assert off.max() < np.abs(held_out @ plain - right).max() / held_out.sum(1).min() + 10.0


def test_few_frames_do_not_fit_their_noise() -> None:
    """As many frames as elements, of nearly the same composition: plain least squares is off by hundreds of eV."""
    rows = np.array([[60, 60], [60, 61]])
    noise = np.array([4.0, -4.0])
    found = fitted(rows, rows @ true(VALENCE)[:2] + noise, SPECIES[:2])
    assert found.undetermined.all()
    assert np.abs(found.energies - true(VALENCE)[:2]).max() < 4.0
    np.testing.assert_allclose(rows @ found.energies, rows @ true(VALENCE)[:2], atol=8.0)


def test_one_composition_determines_one_sum() -> None:
    rows = np.array([[4, 2, 0, 1, 0, 0]] * 10)
    found = fitted(rows, rows @ true(ALL_ELECTRON))
    assert [symbol for symbol, is_open in zip(SPECIES, found.undetermined, strict=True) if is_open] == list(SPECIES)
    assert found.fixes(np.array([[8.0, 4, 0, 2, 0, 0], [4, 2, 0, 2, 0, 0]])).tolist() == [True, False]
    assert (rows @ found.energies)[0] == pytest.approx((rows @ true(ALL_ELECTRON))[0], abs=1e-8)
    methane = np.array([4, 1, 0, 0, 0, 0])
    assert methane @ found.energies == pytest.approx(methane @ true(ALL_ELECTRON), rel=0.02)


def test_only_what_goes_together_is_undetermined() -> None:
    """Hydrogen and carbon come as CH2 alone, oxygen is free."""
    rows = np.array([[2, 1, 0], [4, 2, 1], [6, 3, 2], [2, 1, 3], [8, 4, 1]])
    species, table = ("H", "C", "O"), np.array([-3.4, -9.2, -4.9])
    found = fitted(rows, rows @ table, species)
    assert found.undetermined.tolist() == [True, True, False]
    assert found.energies[2] == pytest.approx(-4.9, abs=1e-9)
    assert 2 * found.energies[0] + found.energies[1] == pytest.approx(-16.0, abs=1e-9)
    assert abs(found.energies[:2]).max() < 10


def test_known_energies_stay() -> None:
    rows = np.array([[4, 1, 0], [4, 1, 0], [4, 1, 1], [4, 1, 2]])
    species, table = ("H", "C", "O"), np.array([-3.4, -9.2, -4.9])
    found = fitted(rows, rows @ table, species, known={"H": -3.4})
    np.testing.assert_allclose(found.energies, table, atol=1e-9)
    assert not found.undetermined.any()
    assert fitted(rows, rows @ table, species, known=dict(zip(species, table, strict=True))).open.shape == (0, 3)


def test_frames_of_one_kind_count_as_many() -> None:
    """The same as of all frames one by one."""
    rng = np.random.default_rng(0)
    rows = np.array([[4, 1], [6, 2], [2, 2]])
    kind = rng.integers(0, 3, 50)
    energies = rows[kind] @ true(VALENCE)[:2] + rng.normal(size=50)
    number = np.bincount(kind)
    mean = np.bincount(kind, energies) / number
    spread = float(np.square(energies - mean[kind]).sum())
    grouped = fitted(rows, mean, SPECIES[:2], number=number, spread=spread)
    np.testing.assert_allclose(grouped.energies, fitted(rows[kind], energies, SPECIES[:2]).energies, atol=1e-10)
    np.testing.assert_allclose(grouped.energies, np.linalg.lstsq(rows[kind], energies, rcond=None)[0], atol=1e-10)


def test_free_atoms() -> None:
    """Hartree-Fock energies (Koga et al. 1999) in Hartree."""
    known = {"H": -0.5, "C": -37.689, "O": -74.809, "Si": -288.854, "Fe": -1262.443, "Br": -2572.441, "I": -6917.98}
    for symbol, hartree in known.items():
        off = 0.08 if symbol == "H" else 0.01
        assert free_atom_energy(symbol) / 27.211386 == pytest.approx(hartree, rel=off), atomic_numbers[symbol]
