"""A process that is killed at random moments, and what it leaves in the end.

``KILLS=20 pytest tests/train/test_kill.py`` kills more often over a longer run.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from support.killing import run_and_kill
from support.runs import changed
from support.state import assert_same_run, history

KILLS = int(os.environ.get("KILLS", "4"))

EPOCHS, STEPS_PER_EPOCH = 3 * KILLS, 5

CHANGES = {
    "trainer.max_epochs": EPOCHS,
    "trainer.checkpoint_steps": 2,
    "trainer.gradient_clip_val": 1.0,
    "scheduler": {"kind": "cosine", "warmup_steps": 5},
    "model.layers.drop": {"kind": "dropout", "of": "act", "p": 0.2},
    "model.layers.readout": {"kind": "linear", "of": "drop", "irreps_out": "0e"},
}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, cache: str) -> None:
    raw = changed({"data.cache_dir": cache, **CHANGES})
    raw["model"]["layers"]["readout"] = raw["model"]["layers"].pop("readout")  # after the dropout it reads
    seed = random.randrange(10**6)
    reached = run_and_kill(raw, tmp_path / "whole", tmp_path / "killed", KILLS, EPOCHS * STEPS_PER_EPOCH, seed)
    print(f"seed {seed}: killed after steps {reached}")
    assert max(reached) > 0, "no session came to a checkpoint"
    assert len(history(tmp_path / "whole")) == EPOCHS
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
