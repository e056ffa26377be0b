-- Mean response to each frame of the movie
SELECT movie_frame_index, avg(dff) AS dff
FROM stimulus_presentations
    JOIN presentation_frames USING (mouse_id, behavior_session_id, stimulus_presentations_id)
    JOIN dff_traces_long USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
WHERE stimulus_name = 'natural_movie_one' AND frame = onset_frame
GROUP BY movie_frame_index ORDER BY movie_frame_index
