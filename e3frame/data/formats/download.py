"""Downloads raw files; an interrupted download leaves no files behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from e3frame.files.written import filled
from e3frame.spec.errors import DataError


def fetched(root: Path, names: Sequence[str], fetch: Callable[[str], None], what: str) -> list[Path]:
    """Return the files ``names`` below ``root``; if one is missing, download them.

    Args:
        names: paths relative to ``root``, and to the folder that ``fetch`` fills.
        fetch: downloads the files into a given folder.
        what: name of the data, for messages.

    Raises:
        DataError: the download fails.
    """
    paths = [root / name for name in names]
    if all(path.exists() for path in paths):
        return paths
    try:
        with filled(root, "download") as part:
            try:
                fetch(str(part))
            except Exception as error:  # the network, the server, the archive
                hint = f"download the files by hand and put them into this folder: {', '.join(names)}"
                raise DataError(f"{what} cannot be downloaded: {error}", file=root, hint=hint) from None
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", file=root, hint="set data.root") from None
    missing = [name for name, path in zip(names, paths, strict=True) if not path.exists()]
    if missing:
        raise DataError(f"the download of {what} lacks {missing[0]}", file=root)
    return paths
