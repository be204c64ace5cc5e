"""Sphinx: pages by task in MyST, an API reference from docstrings, and pages that are written from the specs."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from pages import write_pages  # noqa: E402

from e3frame.spec.base import Spec  # noqa: E402
from e3frame.version import __version__  # noqa: E402

project = "e3frame"
version = release = __version__
copyright = "the authors of e3frame, MIT licence"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "mathml"]
exclude_patterns = ["_ext"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "ref.python"]  # names that a package and its module both have

# Tutorials run when their text changes; what they show is kept between builds.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of the kernels, which have no widgets
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parents[1] / "build" / "docs-cache")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_merge_streams = True

html_math_renderer = "mathml"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("What", "Device", "Groups", "IrrepsLike", "IrrepLike")}
autodoc_inherit_docstrings = False  # those of torch and ASE say how to write a subclass
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "literal"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "e3frame"
html_static_path = ["_static"]
html_css_files = ["e3frame.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "monokai"

write_pages(HERE)


def _plain(app, what, name, obj, options, lines):
    """Docstrings write |x| for a norm and * for a product, which reStructuredText would read as markup."""
    example = False
    for number, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if example:
            continue
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
        lines[number] = "``".join(parts)
    if what in ("attribute", "property"):
        head, colon, rest = lines[0].partition(": ")
        lines[:1] = [f"{head}:", rest] if colon else [head]  # napoleon takes words before a colon for a type


def _signature(app, what, name, obj, options, signature, returns):
    """The keys of a spec have a table of their own; their types as pydantic has them would fill the page."""
    return ("", returns) if isinstance(obj, type) and issubclass(obj, Spec) else None


def _skip(app, what, name, obj, skip, options):
    """Pydantic's own attributes."""
    return True if name in ("model_config", "model_post_init") else None


def setup(app):
    app.connect("autodoc-process-docstring", _plain, priority=100)  # before napoleon adds markup of its own
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
