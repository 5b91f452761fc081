"""Sphinx's configuration of the documentation site: ``make docs``. The site needs no network to be read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from petrt import __version__

project = "petrt"
author = "the petrt authors"
copyright = "the petrt authors. Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "mathml"]
exclude_patterns = ["_ext"]
napoleon_use_ivar = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"petrt {__version__}"
html_static_path = ["_static"]
html_css_files = ["petrt.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"announcement": "Not for diagnostic use"}

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray", "Array": "Array"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
# Highlighting follows the language of a block; an indented one, a command or a tree of files, has none.
highlight_language = "text"
