-- Response of each cell to each frame of the movie
SELECT cell_roi_id, movie_frame_index, avg(dff) AS dff
FROM stimulus_presentations JOIN dff_around(
    802088043,
    (SELECT list(start_time) FROM stimulus_presentations
     WHERE behavior_session_id = 802082008 AND movie_frame_index IS NOT NULL),
    before := 0, after := 0) ON start_time = event_time
WHERE behavior_session_id = 802082008
GROUP BY ALL ORDER BY ALL
