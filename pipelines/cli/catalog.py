"""The catalog command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.cli.options import DEFAULT_LAKE, LakeOption
from pipelines.cli.terminal import say

if TYPE_CHECKING:
    pass


def catalog(lake: LakeOption = DEFAULT_LAKE) -> None:
    """Rebuild the catalog from the lake's files.

    Needed after files were changed by hand, or where the catalog is lost;
    ingest does it by itself.

    [dim]Example:[/dim]  vblake catalog --lake lake
    """
    from pipelines.catalog.build import build_catalog
    from pipelines.lake.lock import writing
    from pipelines.lake.store import open_store, require_lake
    from schemas.layout import CATALOG

    store = open_store(lake)
    release = require_lake(store)
    with writing(store):
        build_catalog(store, release)
    say(f"{store.root}/{CATALOG} describes release {release}")
