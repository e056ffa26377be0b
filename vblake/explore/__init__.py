"""`vblake explore`: a page in the browser over any lake. Needs `pip install "vblake[explore]"`.

| module | what |
|---|---|
| `state` | what is shown, as a dataclass and as the query of a URL |
| `session_queries`, `cell_queries` | the SQL and the Polars behind each figure, as a `query` |
| `source` | the open lake: runs the queries, says why rows are missing |
| `choices` | which sessions and planes can be chosen |
| `views` | what a view shows: its queries, figures and notes |
| `figures` | from frames to figures of Plotly |
| `layout`, `app`, `server` | the page, what answers to clicks, and who may open it |
"""
