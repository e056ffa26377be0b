-- Running speed around licks
SELECT seconds, avg(speed) AS speed
FROM running_around(
    802082008, (SELECT list(timestamps) FROM licks WHERE behavior_session_id = 802082008),
    before := 2, after := 2)
GROUP BY seconds ORDER BY seconds
