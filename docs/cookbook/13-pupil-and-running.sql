-- Pupil against running, second by second
SELECT second, pupil_area, speed
FROM (
    SELECT floor(timestamps) AS second, avg(pupil_area) AS pupil_area
    FROM eye_tracking WHERE behavior_session_id = 802082008 GROUP BY second
) JOIN (
    SELECT floor(timestamps) AS second, avg(speed) AS speed
    FROM running_speed WHERE behavior_session_id = 802082008 GROUP BY second
) USING (second)
ORDER BY second
