-- Running speed around changes, hits against misses
SELECT hit, lag, avg(seconds) AS seconds, avg(speed) AS speed
FROM running_around(
    802082008,
    (SELECT list(change_time) FROM trials WHERE go AND behavior_session_id = 802082008),
    before := 2, after := 3)
    JOIN trials USING (behavior_session_id)
WHERE event_time = change_time
GROUP BY ALL ORDER BY ALL
