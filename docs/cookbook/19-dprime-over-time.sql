-- d' over a session, in steps of five minutes
SELECT behavior_session_id, floor(start_time / 300) * 5 AS minute,
    dprime(avg(hit::INT) FILTER (go), avg(false_alarm::INT) FILTER (catch)) AS dprime
FROM trials
GROUP BY ALL ORDER BY ALL
