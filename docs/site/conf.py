"""Sphinx's settings. The pages are staged by `build.py`, which also starts the build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ddbench

project = "ddbench"
author = "The ddbench maintainers"
release = ddbench.__version__
html_title = f"ddbench {release}"

extensions = ["myst_parser", "ddbench_docs.mathml"]
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 6
html_math_renderer = "mathml"

smartquotes = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # summaries are fetched page by page, which browsers refuse a site that is opened from disk
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {"navigation_with_keys": True, "sidebar_hide_name": False}
