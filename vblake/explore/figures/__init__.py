"""From frames to figures of Plotly, as plain dictionaries: pure functions, one module per view."""
