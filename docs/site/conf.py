"""Sphinx's settings. Nothing on the pages comes from the network."""

project = "vblake"
copyright = "vblake contributors"
extensions = ["myst_parser"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]  # CHANGELOG.md has plain lines between its headings
html_theme = "furo"
html_title = "vblake"
html_static_path = ["static"]
html_css_files = ["vblake.css"]
html_extra_path = ["llms.txt"]
html_show_sphinx = False
html_copy_source = False
