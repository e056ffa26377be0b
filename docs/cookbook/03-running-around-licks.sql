-- Running speed around licks
-- For all sessions in the lake, leave out WHERE. The lags are samples, 60 per second.
SELECT lag, avg(seconds) AS seconds, avg(speed) AS speed
FROM behavior_metadata s, running_around(
    s.behavior_session_id,
    (SELECT list(timestamps) FROM licks WHERE behavior_session_id = s.behavior_session_id),
    before := 2, after := 2)
WHERE s.behavior_session_id = 802082008
GROUP BY lag ORDER BY lag
