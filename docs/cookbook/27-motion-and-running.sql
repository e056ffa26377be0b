-- Motion of the image against running, second by second
SELECT second, motion, speed
FROM (
    SELECT floor(timestamps) AS second, avg(sqrt(x * x + y * y)) AS motion
    FROM motion_correction JOIN ophys_timestamps_long
        USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id, frame)
    WHERE ophys_experiment_id = 802088043 GROUP BY second
) JOIN (
    SELECT floor(timestamps) AS second, avg(speed) AS speed
    FROM running_speed WHERE behavior_session_id = 802082008 GROUP BY second
) USING (second)
ORDER BY second
