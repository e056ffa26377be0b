"""Which NWB file a session's behaviour tables are read from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.release.selection import FileKind

SessionRow = tuple[int, int | None, Sequence[int] | None]
"""behavior_session_id, file_id and ophys_experiment_id of a row of behavior_sessions."""


@dataclass(frozen=True, slots=True)
class BehaviorSource:
    """The file that gives a session's behaviour.

    Attributes:
        kind: whether it is the session's own file or that of an experiment.
        file_key: behavior_session_id or ophys_experiment_id, by `kind`.
        problem: why the session has no such file; empty if it has one.
    """

    kind: FileKind
    file_key: int
    problem: str = ""


def behavior_sources(
    sessions: Iterable[SessionRow], experiments: Iterable[tuple[int, int]]
) -> dict[int, BehaviorSource]:
    """Finds the file that gives each session's behaviour, by the rule of the released reader.

    That is the session's own file if it has a file_id above 0, else the file of the first
    experiment that it lists. A session's file_id of 0 means "no file", although 0 is a valid
    file_id of an experiment.

    Args:
        sessions: rows of behavior_sessions.
        experiments: ophys_experiment_id and behavior_session_id of the rows of ophys_experiments.

    Returns:
        The source by behavior_session_id.

    >>> found = behavior_sources([(1001, 21, None), (1003, None, [5003, 5002])], [(5003, 1003)])
    >>> [(source.kind.value, source.file_key) for source in found.values()]
    [('behavior_session', 1001), ('ophys_experiment', 5003)]
    """
    session_of = dict(experiments)
    own = FileKind.BEHAVIOR_SESSION
    found: dict[int, BehaviorSource] = {}
    for session, file_id, listed in sessions:
        if file_id is not None and file_id > 0:
            found[session] = BehaviorSource(own, session)
        elif not listed:
            problem = (
                "behavior_sessions gives neither a file_id nor an experiment "
                "to read its behaviour from"
            )
            found[session] = BehaviorSource(own, session, problem)
        elif session_of.get(listed[0]) != session:
            problem = (
                f"its behaviour is in experiment {listed[0]}, "
                "which ophys_experiments does not list for it"
            )
            found[session] = BehaviorSource(own, session, problem)
        else:
            found[session] = BehaviorSource(FileKind.OPHYS_EXPERIMENT, listed[0])
    return found
