"""The command line that a choice of a config group needs, so that tests can compose every one of them."""

from __future__ import annotations

from e3frame.compose import config_folder

STRESSED = ("data=xyz", "data.path=a.xyz", "data.keys.stress=stress")
OF_QM9 = ("gap", "dipole_size")


def overrides_for(group: str, choice: str) -> list[str]:
    """A model of one property goes with the task of its name, and both with data that have its labels."""
    chosen = [f"{group}={choice}"]
    other = {"model": "task", "task": "model"}.get(group)
    if other is not None and (config_folder() / other / f"{choice}.yaml").exists():
        chosen.append(f"{other}={choice}")
    if other is not None and choice in OF_QM9:
        chosen.append("data=qm9")
    return [*chosen, *STRESSED] if (group, choice) == ("task", "energy_forces_stress") else chosen
