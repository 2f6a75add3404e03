"""Build the pages by ``make docs``: Sphinx reads the Markdown here, and two pages come from the source."""

import sys
from pathlib import Path

import unlearning

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import pages  # noqa: E402  (lies beside this file)

project = "unlearning"
version = release = unlearning.__version__
extensions = ["myst_nb"]
html_theme = "furo"
html_show_copyright = False
html_title = f"unlearning {version}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
myst_url_schemes = ["http", "https", "mailto"]
nb_execution_mode = "off"  # the notebook holds its outputs; tests/test_docs.py runs it
nitpicky = True

pages.write(HERE / "reference")
