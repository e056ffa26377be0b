"""The lock of a lake: who holds it, and waiting for it."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from pipelines.lake.lock import writer, writing
from pipelines.lake.store import LocalStore
from schemas.errors import LakeError


def test_a_busy_lake_names_its_writer(tmp_path: Path) -> None:
    store, writer_before = LocalStore(tmp_path), writer.set("Dagster run 7")
    with writing(store):
        holder = json.loads((tmp_path / "_lock").read_text())
        with pytest.raises(LakeError) as error, writing(store):
            pass
    writer.reset(writer_before)
    assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert str(error.value) == (
        f"{tmp_path} is being written to by another vblake process (pid {os.getpid()} on "
        f"{socket.gethostname()}, since {holder['since']}: Dagster run 7). "
        "Run the command again when it has finished; ingest, remove and rollback wait with --wait."
    )


def test_a_writer_waits_for_another_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, order, held = LocalStore(tmp_path), list[str](), threading.Event()
    monkeypatch.setattr("pipelines.lake.lock._POLL_S", 0.01)
    release = threading.Event()

    def first() -> None:
        with writing(store):
            held.set()
            release.wait(60)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(60)

    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            release.set()

    logger = logging.getLogger("vblake")
    monkeypatch.setattr(logger, "handlers", [Listener()])
    monkeypatch.setattr(logger, "level", logging.WARNING)
    with writing(store, wait_s=60):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    (said,) = messages
    assert said.startswith(f"{tmp_path} is being written to by another vblake process (pid ")
    assert said.endswith("; waiting up to 60 s for it")


def test_the_wait_ends(tmp_path: Path) -> None:
    with (
        writing(LocalStore(tmp_path)),
        pytest.raises(LakeError, match=r"It was waited for 0\.01 s\."),
        writing(LocalStore(tmp_path), wait_s=0.01),
    ):
        pass
