-- Number of samples of dF/F in the lake
SELECT count(*) AS cells, sum(len(dff)) AS samples
FROM dff_traces
