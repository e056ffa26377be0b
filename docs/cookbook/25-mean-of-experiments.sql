-- Mean dF/F of each experiment
SELECT ophys_experiment_id, count(*) AS cells, avg(list_avg(dff)) AS dff
FROM dff_traces
GROUP BY ophys_experiment_id ORDER BY ophys_experiment_id
