"""Opens a lake."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from vblake.around import Around, SignalAround, around_signal, around_traces
from vblake.connection import open_catalog
from vblake.files import find_files
from vblake.session import Experiment, Session
from vblake.tables import Tables
from vblake.traces import SIGNALS, TRACES


class Lake(Tables):
    """A lake that is open for reading; made by `vblake.open`.

    Use it as a context manager, or call `close`, to release the catalog. An open lake keeps the
    catalog it was opened with and sees the current files.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def session(self, behavior_session_id: int) -> Session:
        """A behaviour session that the lake holds.

        Raises:
            LookupError: the release does not have it, or it was not ingested or is quarantined.

        Example:
            >>> lake.session(70).licks.height
            2
        """
        planes = self.recordings({"behavior_session_id": [int(behavior_session_id)]})
        self._check_ingested(
            f"mouse_id = {planes[0].mouse_id} AND gives_behavior "
            f"AND behavior_session_id = {planes[0].behavior_session_id}",
            f"behaviour session {behavior_session_id}",
            f"--behavior-session {behavior_session_id}",
        )
        return Session(self, planes)

    def experiment(self, ophys_experiment_id: int) -> Experiment:
        """An experiment, i.e. an imaging plane in one session, that the lake holds.

        Raises:
            LookupError: the release does not have it, or it was not ingested or is quarantined.

        Example:
            >>> lake.experiment(51).dff.shape
            (2, 3)
        """
        planes = self.recordings({"ophys_experiment_id": [int(ophys_experiment_id)]})
        self._check_ingested(
            f"mouse_id = {planes[0].mouse_id} "
            f"AND ophys_experiment_id = {planes[0].ophys_experiment_id}",
            f"experiment {ophys_experiment_id}",
            f"--experiment {ophys_experiment_id}",
        )
        return Experiment(self, planes)

    def around(
        self,
        what: str,
        recording: int | Session,
        times: Any = None,
        before: float = 1,
        after: float = 2,
        outside: Literal["raise", "drop"] = "raise",
        *,
        presentations: Iterable[int] | None = None,
    ) -> Around | SignalAround:
        """What was recorded around events: traces, cell x event x time; others, event x time.

        Traces stay as they are: the sample at 0 s is the first frame at or after the event, so a
        window starts up to one frame late. Running and pupil are interpolated to steps from the
        event (`SignalAround`).

        Args:
            what: `dff`, `corrected_fluorescence`, `events`, `filtered_events`, `demixed` or
                `neuropil` of an experiment; `running_speed`, `pupil_area` or `pupil_width` of a
                session.
            recording: id of the experiment or of the behaviour session, or what `Lake.experiment`
                or `Lake.session` returned. An experiment stands for its session, too.
            times: seconds on the lake's clock, shape (n_events,): an array, a list or a Polars
                column, e.g. `start_time` of presentations.
            before: start of the window in seconds before the event, at least 0.
            after: end of the window in seconds after the event, at least 0.
            outside: what to do with events whose window is not wholly in the recording: `raise` an
                error, or `drop` them. An event without time (NULL, NaN) is not in the recording.
            presentations: instead of times, `stimulus_presentations_id` of the presentations whose
                starts are the events.

        Raises:
            LookupError: there is no such experiment, session, presentation or kind of traces in the
                lake.
            TypeError: not exactly one of `times` and `presentations` is given.
            ValueError: the window is negative, an event is outside of the recording, or no event is
                left.

        Example:
            >>> lake.around("dff", 51, [10.1], before=0.1, after=0.1).shape
            (2, 1, 3)
            >>> lake.around("running_speed", 70, [0.25], before=0.1, after=0.1).shape
            (1, 3)
        """
        if (times is None) == (presentations is None):
            raise TypeError("Lake.around takes either times or presentations.")
        if what not in SIGNALS and what not in TRACES:
            raise LookupError(f"There is no {what!r}. Use {', '.join((*TRACES, *SIGNALS))}.")
        found = self._recording(what, recording)
        events = np.asarray(
            found.onsets(presentations) if presentations is not None else times, dtype=np.float64
        ).reshape(-1)
        if isinstance(found, Experiment) and what in TRACES:
            return around_traces(what, found.read_traces(what), events, before, after, outside)
        clock, values = found.read_signal(what)
        units = self.unit(*SIGNALS[what])
        return around_signal(what, units, clock, values, events, before, after, outside)

    def _recording(self, what: str, recording: int | Session) -> Session:
        """The experiment or session that `around` is asked for."""
        if what in SIGNALS:
            return recording if isinstance(recording, Session) else self.session(recording)
        if isinstance(recording, Session) and not isinstance(recording, Experiment):
            raise LookupError(f"{what} is recorded by experiment. Give one of lake.experiment(id).")
        return recording if isinstance(recording, Experiment) else self.experiment(recording)

    def _check_ingested(self, where: str, what: str, option: str) -> None:
        """Raises a LookupError unless the ledger has a file that was ingested."""
        rows = self._connection.execute(
            f"SELECT status, error FROM source_files WHERE {where}"
        ).fetchall()
        if any(status in ("ingested", "partial") for status, _ in rows):
            return
        if rows:
            ((status, error), *_) = rows
            state = f"the file of {what} is {status}: {error}"
        else:
            state = f"{what} is not in the lake yet."
        raise LookupError(f"{self.root}: {state} Use `vblake ingest --lake {self.root} {option}`.")


def open(lake: str | Path) -> Lake:  # noqa: A001 - read as vblake.open
    """Opens a lake for reading. A lake that was copied or moved is read where it is now.

    Args:
        lake: a folder; an `s3://` prefix, with credentials, region and endpoint from the usual AWS
            settings; or the address of a folder on a web server, `https://...`.

    Raises:
        FileNotFoundError: there is no lake, or it has no catalog.
        OSError: the catalog is damaged, or another process writes to it.
        ModuleNotFoundError: the lake is in S3 or on a web server, and a package of the extra `s3`
            or `remote` is not installed.

    Example:
        >>> with vblake.open(folder) as lake:
        ...     lake.sql("SELECT max(timestamps) FROM licks").fetchall()
        [(3.0,)]
    """
    files = find_files(lake)
    return Lake(files, open_catalog(files))
