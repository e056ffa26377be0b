"""The catalog command."""

from __future__ import annotations

from pipelines.cli.log_options import logged
from pipelines.cli.options import DEFAULT_LAKE, LakeOption
from pipelines.cli.terminal import say


@logged
def catalog(lake: LakeOption = DEFAULT_LAKE) -> None:
    """Rebuild the catalog from the lake's files.

    This is needed only after files were changed by hand, or if the catalog is
    lost: every ingest does it too.

    [dim]Example:[/dim]  vblake catalog --lake lake
    """
    from pipelines.catalog.build import rebuild_catalog
    from pipelines.lake.store import open_store
    from schemas.layout import CATALOG

    store = open_store(lake)
    release = rebuild_catalog(store)
    say(f"{store.root}/{CATALOG} describes release {release}")
