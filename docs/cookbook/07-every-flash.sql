-- Every flash with behaviour, running and pupil
SELECT behavior_session_id, start_time, image_name, is_change, licked, lick_latency, rewarded,
    mean_running_speed, mean_pupil_area, reward_rate, engaged
FROM annotated_presentations
WHERE mouse_id = 402448 AND active
ORDER BY behavior_session_id, start_time
