-- A job's hot row is narrow: a change of state rewrites it and touches neither its spec nor its blobs.
-- AUTOINCREMENT keeps the highest seq ever given in sqlite_sequence, also when that job is deleted.
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    backend TEXT NOT NULL,
    code_type TEXT NOT NULL,
    job_type TEXT NOT NULL,
    job_name TEXT,
    session_id TEXT,
    tags TEXT NOT NULL,             -- JSON array, in the order given
    priority INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    num_qubits INTEGER,
    created_at REAL NOT NULL,       -- times are seconds since the epoch
    started_at REAL,
    updated_at REAL NOT NULL,
    ended_at REAL
);
CREATE INDEX job_by_status ON job (status, seq);
CREATE INDEX job_by_backend ON job (backend, seq);
CREATE INDEX job_by_session ON job (session_id, seq) WHERE session_id IS NOT NULL;
CREATE INDEX job_by_name ON job (job_name, seq) WHERE job_name IS NOT NULL;

CREATE TABLE job_spec (seq INTEGER PRIMARY KEY, spec BLOB NOT NULL);
-- Source and results: one byte (0 raw, 1 zlib), the CRC-32 of the text, the text.
CREATE TABLE job_source (seq INTEGER PRIMARY KEY, source BLOB NOT NULL);
CREATE TABLE job_result (seq INTEGER PRIMARY KEY, results BLOB NOT NULL);
CREATE TABLE job_tag (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) WITHOUT ROWID;
CREATE INDEX job_tag_by_job ON job_tag (seq);

-- Ids of deleted jobs, which stay taken until then.
CREATE TABLE deleted_job (job_id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX deleted_job_by_time ON deleted_job (until);

-- The outbox: a row goes in with the job's final state and leaves when its delivery has ended either way.
CREATE TABLE callback (
    webhook_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    spec BLOB NOT NULL,
    body BLOB NOT NULL,
    tries INTEGER NOT NULL,
    due_at REAL NOT NULL
);
CREATE INDEX callback_by_time ON callback (due_at);
CREATE INDEX callback_by_job ON callback (seq);

CREATE TABLE callback_log (
    webhook_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    tries INTEGER NOT NULL,         -- failed posts before the last one
    note TEXT NOT NULL,
    ended_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f', 'now'))
);
CREATE INDEX callback_log_by_job ON callback_log (seq);

-- State of the server's other parts by name, such as its sessions.
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
