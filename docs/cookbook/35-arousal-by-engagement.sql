-- Running and pupil, engaged against disengaged
-- Flashes without a change, in active sessions. The pupil is relative to the gray screen before the
-- task.
SELECT cre_line, engaged, count(*) AS flashes, avg(mean_running_speed) AS running_speed,
    avg(mean_pupil_area) AS pupil_area, avg(licked::INT) AS share_with_licks
FROM annotated_presentations JOIN behavior_sessions USING (mouse_id, behavior_session_id)
WHERE active AND behavior_type = 'active_behavior' AND NOT annotated_presentations.is_change
    AND NOT omitted
GROUP BY ALL ORDER BY ALL
