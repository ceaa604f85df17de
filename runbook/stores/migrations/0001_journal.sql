-- One row per format that this file has had, with the program that brought it there.
CREATE TABLE format (version INTEGER PRIMARY KEY, written_by TEXT NOT NULL) STRICT;

-- What a run's first event says and lists are filtered by; the rowid is the order of arrival.
CREATE TABLE run (
  run_id     TEXT NOT NULL UNIQUE,
  lock       TEXT NOT NULL,
  runbook    TEXT NOT NULL,
  undoes     TEXT,
  started_at TEXT NOT NULL
) STRICT;

CREATE INDEX run_by_lock ON run (lock);

-- `(run_id, seq)` is the fence: the second writer of a place is refused.
CREATE TABLE event (
  run_id   TEXT    NOT NULL REFERENCES run (run_id),
  seq      INTEGER NOT NULL CHECK (seq >= 0),
  event_id TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  body     TEXT    NOT NULL,
  PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_of_ending ON event (run_id, seq) WHERE kind IN ('RunFinished', 'RunResumed');

CREATE TRIGGER event_has_no_gap BEFORE INSERT ON event BEGIN
  SELECT RAISE(ABORT, 'seq is not the next')
  WHERE NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM event WHERE run_id = NEW.run_id);
END;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event BEGIN
  SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event BEGIN
  SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TRIGGER run_is_never_changed BEFORE UPDATE ON run BEGIN
  SELECT RAISE(ABORT, 'runs are append-only');
END;

CREATE TRIGGER run_is_never_deleted BEFORE DELETE ON run BEGIN
  SELECT RAISE(ABORT, 'runs are append-only');
END;
