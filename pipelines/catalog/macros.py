"""The macros of the catalog: sensitivity d', and what was recorded around events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.nwb.normal_quantile import EXP_MINUS_2, P0, P1, Q0, Q1, SQRT_2PI
from schemas import TABLES, Column, Type
from schemas.model import column


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro of the catalog.

    Attributes:
        parameters: in order, as declared, e.g. `before := 1`.
        body: an expression, or a SELECT if `returns_table`.
        columns: what it returns, in order; of an expression, one with the name of the macro.
        returns_table: whether it stands after FROM.
    """

    name: str
    description: str
    parameters: tuple[str, ...]
    body: str
    columns: tuple[Column, ...]
    returns_table: bool = False

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def signature(self) -> str:
        """Name and parameters.

        >>> MACROS["dprime"].signature
        'dprime(hit_rate, false_alarm_rate)'
        """
        return f"{self.name}({', '.join(self.parameters)})"


# --- d' ------------------------------------------------------------------------------------------
# DuckDB puts an argument wherever a macro's body names it. Each formula names it as rarely as it
# can, since d' of two averages is an expression of several thousand parts otherwise.


def _polynomial(x: str, coefficients: Sequence[float]) -> str:
    value = f"{coefficients[0]!r}::DOUBLE"
    for coefficient in coefficients[1:]:
        value = f"({value} * {x} + {coefficient!r}::DOUBLE)"
    return value


def _quantile(p: str) -> str:
    """SQL of the normal quantile, as in `pipelines.nwb.normal_quantile`."""
    tail = f"(0.5::DOUBLE - abs({p} - 0.5::DOUBLE))"
    y = f"({p} - 0.5::DOUBLE)"
    y2 = f"pow({y}, 2)"
    ratio = f"{_polynomial(y2, P0)} / {_polynomial(y2, Q0)}"
    centre = f"({y} + {y} * ({y2} * {ratio})) * {SQRT_2PI!r}::DOUBLE"
    x = f"sqrt(-2 * ln({tail}))"
    z = f"(1 / {x})"
    distance = f"({x} - ln({x}) / {x} - {z} * {_polynomial(z, P1)} / {_polynomial(z, Q1)})"
    return (
        f"CASE WHEN {tail} > {EXP_MINUS_2!r}::DOUBLE THEN {centre} ELSE sign({y}) * {distance} END"
    )


def _number(parameter: str) -> str:
    return f"{parameter}::DOUBLE"


def _share(yes: str, no: str) -> str:
    """SQL of the share of `yes`, kept 1/(2N) away from 0 and 1; NULL if both are 0."""
    total = f"nullif({_number(yes)} + {_number(no)}, 0)"
    return f"greatest(least({_number(yes)} / {total}, 1 - 0.5 / {total}), 0.5 / {total})"


def _difference(hit_rate: str, false_alarm_rate: str) -> str:
    hit, alarm = (
        _quantile(f"least(greatest({rate}, 0.01::DOUBLE), 0.99::DOUBLE)")
        for rate in (hit_rate, false_alarm_rate)
    )
    return f"({hit}) - ({alarm})"


_DPRIME = Macro(
    "dprime",
    "Sensitivity d': difference of the normal quantiles of two rates, each clipped to 0.01 and "
    "0.99 as in rolling_dprime. NULL if a rate is NULL or NaN.",
    ("hit_rate", "false_alarm_rate"),
    # least and greatest skip NULL, and NaN is the greatest number.
    "CASE WHEN hit_rate::DOUBLE < 'inf'::DOUBLE AND false_alarm_rate::DOUBLE < 'inf'::DOUBLE THEN "
    f"{_difference(_number('hit_rate'), _number('false_alarm_rate'))} END",
    (column("dprime", Type.FLOAT64, "Sensitivity d'."),),
)
_DPRIME_FROM_COUNTS = Macro(
    "dprime_from_counts",
    "Sensitivity d' from numbers of trials. Each rate is kept 1/(2N) away from 0 and 1 as in "
    "hit_rate of rolling_performance, N being the trials it is taken from, then clipped as in "
    "dprime. NULL without go or without catch trials.",
    ("hits", "misses", "false_alarms", "correct_rejects"),
    # Written out: a macro finds no other one in a catalog that is attached but not in USE.
    "CASE WHEN hits + misses > 0 AND false_alarms + correct_rejects > 0 THEN "
    f"{_difference(_share('hits', 'misses'), _share('false_alarms', 'correct_rejects'))} END",
    (column("dprime_from_counts", Type.FLOAT64, "Sensitivity d'."),),
)

# --- around events -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Signal:
    """What an `..._around` macro reads.

    Attributes:
        parameter: the macro's first parameter, an id.
        table: table of the signals.
        clock: table of the clock.
        session: SELECT of mouse_id and behavior_session_id.
        ticks: SELECT of the times of all samples, as one list.
        recorded: SELECT of one row per signal; the CTE of this name.
        ids: columns of `recorded` that are returned as they are.
        lists: columns of `recorded` that are lists with a value for each sample.
    """

    name: str
    what: str
    parameter: str
    table: str
    clock: str
    session: str
    ticks: str
    recorded: str
    ids: tuple[str, ...]
    lists: tuple[str, ...]


def _rows_of(table: str, key: str, parameter: str) -> str:
    """FROM of one recording.

    Where its id comes from another table, as in `FROM behavior_sessions b,
    running_around(b.behavior_session_id, ...)`, DuckDB opens only the files of these recordings if
    the id is joined, but all files of the lake if it stands in a condition.
    """
    return f"FROM {table} JOIN (SELECT {parameter} AS {key}) USING ({key})"


def _traces(name: str, what: str, table: str, *lists: str) -> _Signal:
    key = ("ophys_experiment_id", "experiment")
    ids = ("ophys_experiment_id", "cell_roi_id", "cell_specimen_id")
    return _Signal(
        name=name,
        what=what,
        parameter="experiment",
        table=table,
        clock="ophys_timestamps",
        session=f"SELECT mouse_id, behavior_session_id {_rows_of('ophys_experiments', *key)}",
        ticks=f"SELECT timestamps {_rows_of('ophys_timestamps', *key)}",
        recorded=f"SELECT {', '.join((*ids, *lists))} {_rows_of(table, *key)}",
        ids=ids,
        lists=lists,
    )


def _samples(name: str, what: str, table: str, *columns: str) -> _Signal:
    key = ("behavior_session_id", "session")
    lists = ", ".join(f"list({c} ORDER BY timestamps) AS {c}" for c in ("timestamps", *columns))
    return _Signal(
        name=name,
        what=what,
        parameter="session",
        table=table,
        clock=table,
        session=f"SELECT mouse_id, behavior_session_id {_rows_of('behavior_sessions', *key)}",
        ticks="SELECT timestamps FROM recorded",
        recorded="SELECT any_value(behavior_session_id) AS behavior_session_id, "
        f"{lists} {_rows_of(table, *key)}",
        ids=("behavior_session_id",),
        lists=columns,
    )


_SAMPLES = """
WITH recorded AS {kept} ({recorded}
), recording AS MATERIALIZED (
    SELECT coalesce(({ticks}), error('The lake has no {clock} of {unit} ' || {unit}
        || '. source_files says why, or ingest it with vblake ingest {hint} ' || {unit} || '.'
        )) AS clock
), ticks AS (
    SELECT unnest(clock) AS tick, unnest(range(1, len(clock) + 1)) AS position FROM recording
), period AS (
    SELECT median(later - earlier) AS period FROM (
        SELECT unnest(clock[:-2]) AS earlier, unnest(clock[2:]) AS later FROM recording
    )
), lags AS (
    SELECT period, clock[1] AS first_tick, clock[-1] AS last_tick,
        CASE WHEN before >= 0 AND after >= 0 THEN
        range(-CAST(floor(before / period + 1e-6) AS BIGINT),
              CAST(floor(after / period + 1e-6) AS BIGINT) + 1)
        ELSE error('before and after are seconds and must be at least 0.') END AS lags
    FROM period, recording
), shown AS MATERIALIZED (
    SELECT start_time
    FROM (SELECT unnest(CAST(presentations AS BIGINT[])) AS stimulus_presentations_id)
    JOIN stimulus_presentations USING (stimulus_presentations_id)
    JOIN ({session}) USING (mouse_id, behavior_session_id)
), asked AS MATERIALIZED (
    SELECT event FROM (SELECT unnest(CAST(times AS DOUBLE[])) AS event UNION ALL FROM shown)
    WHERE event IS NOT NULL
), onsets AS (
    SELECT moment AS event, 1 + count(position) OVER (
        ORDER BY moment, position NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS first_position, position IS NULL AS is_event
    FROM (SELECT tick AS moment, position FROM ticks UNION ALL SELECT event, NULL FROM asked)
), positions AS (
    SELECT event, lag, lag * period AS seconds, first_position + lag AS position
    FROM (SELECT *, unnest(lags) AS lag FROM onsets, lags
          WHERE is_event AND event > first_tick - period AND event <= last_tick)
), windows AS (
    SELECT list({{'event_time': event, 'lag': lag, 'seconds': seconds, 'timestamps': tick,
                  'position': position}} ORDER BY event, lag) AS samples
    FROM positions JOIN ticks USING (position)
), checked AS (
    SELECT CASE WHEN len(CAST(presentations AS BIGINT[])) > (SELECT count(*) FROM shown) THEN
        error('Not all of the presentations are in stimulus_presentations of {unit} ' || {unit}
            || '. Give its stimulus_presentations_id.')
        WHEN samples IS NULL AND EXISTS (FROM asked) THEN
        error('None of the events is in the recording of {unit} ' || {unit} || ', '
            || (SELECT clock[1] || ' s to ' || clock[-1] FROM recording)
            || ' s. Times are seconds on the clock of the file.')
        ELSE samples END AS samples FROM windows
)
SELECT {returned}
FROM (SELECT *, unnest((SELECT samples FROM checked)) AS s FROM recorded)
WHERE s.position <= len({first})
"""
"""A row per signal, event and sample.

Only `unnest` repeats a list without copying it: each trace is held once, and rows stream past it. A
join copies it for each of its rows; an ASOF join of few events with a clock compares every pair. So
events find their place on the clock by one sort of events and ticks.
"""


_WHEN = (
    column("event_time", Type.FLOAT64, "The event.", "s", required=True),
    column(
        "lag",
        Type.INT64,
        "Samples after the first at or after the event; negative before it.",
        required=True,
    ),
    column("seconds", Type.FLOAT64, "lag times the median sampling period.", "s", required=True),
    column("timestamps", Type.FLOAT64, "Time of the sample.", "s", required=True),
)


def _returned(signal: _Signal) -> tuple[Column, ...]:
    """What an `..._around` macro returns: a value of each list instead of the list."""
    table = TABLES[signal.table]
    values = (table[name] for name in signal.lists)
    single = (replace(c, type=Type.FLOAT64) if c.type.is_list else c for c in values)
    return (*(table[name] for name in signal.ids), *_WHEN, *single)


def _around(signal: _Signal) -> Macro:
    unit = signal.parameter
    hint = "--experiment" if unit == "experiment" else "--behavior-session"
    returned = ", ".join(
        (
            *signal.ids,
            "s.event_time",
            "s.lag",
            "s.seconds",
            "s.timestamps",
            *(f"{name}[s.position] AS {name}" for name in signal.lists),
        )
    )
    return Macro(
        signal.name,
        f"{signal.what} around events: a row per sample, `seconds` from the event. Takes the "
        f"{signal.ids[0]}, times of events (a list, in seconds), and the seconds before and after "
        "them. presentations := [...], stimulus_presentations_id, stands for the times at which "
        "these start. Samples outside of the recording are left out.",
        (unit, "times := NULL", "before := 1", "after := 2", "presentations := NULL"),
        _SAMPLES.format(
            unit=unit,
            hint=hint,
            clock=signal.clock,
            session=signal.session,
            ticks=signal.ticks,
            # Samples of a session are read once for their times and values; traces are streamed.
            kept="MATERIALIZED" if signal.clock == signal.table else "NOT MATERIALIZED",
            recorded=signal.recorded,
            returned=returned,
            first=signal.lists[0],
        ),
        _returned(signal),
        returns_table=True,
    )


MACROS: dict[str, Macro] = {
    macro.name: macro
    for macro in (
        _DPRIME,
        _DPRIME_FROM_COUNTS,
        *map(
            _around,
            (
                _traces("dff_around", "dF/F of each cell", "dff_traces", "dff"),
                _traces(
                    "events_around",
                    "Calcium events of each cell",
                    "events",
                    "events",
                    "filtered_events",
                ),
                _samples("running_around", "Running speed", "running_speed", "speed"),
                _samples(
                    "pupil_around",
                    "Width and area of the pupil",
                    "eye_tracking",
                    "pupil_width",
                    "pupil_area",
                    "likely_blink",
                ),
            ),
        ),
    )
}
