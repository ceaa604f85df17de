WITH listed AS (
  SELECT
    rowid AS number, run_id, lock, runbook, started_at, undoes,
    (
      SELECT CASE kind WHEN 'RunFinished' THEN json_extract(body, '$.outcome') END
      FROM event
      WHERE event.run_id = run.run_id AND kind IN ('RunFinished', 'RunResumed')
      ORDER BY seq DESC LIMIT 1
    ) AS outcome,
    (
      SELECT json_extract(body, '$.at')
      FROM event WHERE event.run_id = run.run_id ORDER BY seq DESC LIMIT 1
    ) AS last_at
  FROM run
  WHERE (:lock IS NULL OR lock = :lock) AND (:undoes IS NULL OR undoes = :undoes)
)
SELECT run_id, lock, runbook, started_at, undoes, outcome, last_at
FROM listed
WHERE :is_unfinished IS NULL OR (outcome IS NULL OR outcome = 'failed') = :is_unfinished
ORDER BY number DESC
LIMIT coalesce(:limit, -1)
