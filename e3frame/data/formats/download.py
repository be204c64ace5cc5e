"""Raw files that are fetched once: a download that is interrupted leaves nothing behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from e3frame.spec.errors import DataError


def fetched(root: Path, names: Sequence[str], fetch: Callable[[str], None], what: str) -> list[Path]:
    """The files ``names`` below ``root``; if one is not there, what ``fetch`` puts into a folder is moved there.

    Args:
        names: relative to ``root``, as ``fetch`` leaves them relative to its folder.
        fetch: downloads into a folder.
        what: name of the data, for messages.

    Raises:
        DataError: the download fails.
    """
    paths = [root / name for name in names]
    if all(path.exists() for path in paths):
        return paths
    try:
        root.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=".part-", dir=root))
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", file=root, hint="set data.root") from None
    try:
        fetch(str(part))
        for name in (file.relative_to(part) for file in sorted(part.rglob("*")) if file.is_file()):
            if not (root / name).exists():  # what is there may be the user's
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part / name, root / name)
    except Exception as error:  # the network, the server, the archive
        hint = f"fetch the files by another way and put them there: {', '.join(names)}"
        raise DataError(f"{what} cannot be downloaded: {error}", file=root, hint=hint) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    missing = [name for name, path in zip(names, paths, strict=True) if not path.exists()]
    if missing:
        raise DataError(f"the download of {what} does not hold {missing[0]}", file=root)
    return paths
