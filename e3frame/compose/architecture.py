"""The model of a run that starts from a trained model and chooses no other: the layers of the trained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from e3frame.compose.overrides import set_values
from e3frame.config.run import architecture
from e3frame.files.sources import Sources
from e3frame.files.yaml_file import resolved
from e3frame.spec.errors import SpecError


def take_architecture(config: DictConfig, sources: Sources, overrides: Sequence[str], plugins: Sequence[str]) -> None:
    """Replace the default model by that of ``init.model``, then apply the overrides of its keys.

    Args:
        overrides: all overrides, as typed.
        plugins: plugins that the user named.

    Raises:
        SpecError: there is no such trained model, or a ``${...}`` cannot be filled in.
    """
    if not OmegaConf.to_container(config).get("init"):  # type: ignore[union-attr]
        return
    raw = resolved(config, sources)  # within our limits: OmegaConf would fill in any ${...}
    init, task = raw["init"], raw.get("task")
    path = init.get("model") if isinstance(init, Mapping) else None
    keys = [override.partition("=")[0] for override in overrides]
    chosen = any(key.lstrip("+") in ("model", "experiment") or key.startswith("~model") for key in keys)
    if not isinstance(path, str) or not path or chosen:
        return
    targets = task.get("targets") if isinstance(task, Mapping) else None
    try:
        config["model"] = OmegaConf.create(
            architecture(path, plugins, list(targets) if isinstance(targets, Mapping) else [])
        )
    except SpecError as error:
        raise sources.place(error) from None
    for place in [place for place in sources.places if place[:1] == ("model",)]:
        del sources.places[place]
    own = [text for text, key in zip(overrides, keys, strict=True) if key.lstrip("+").startswith("model.")]
    set_values(config, sources, [text for text in own if not text.lstrip("+").startswith("model.plugins=")], None)
