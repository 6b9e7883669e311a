-- What of a job hardly ever changes. Times are seconds since the epoch throughout.
CREATE TABLE job (
    seq bigint PRIMARY KEY,
    job_id text NOT NULL UNIQUE,
    digest bytea NOT NULL,
    backend text NOT NULL,
    code_type text NOT NULL,
    job_type text NOT NULL,
    job_name text,
    session_id text,
    tags text NOT NULL,                 -- JSON array, in the order given
    created_at double precision NOT NULL,
    spec bytea NOT NULL
);
CREATE INDEX job_by_backend ON job (backend, seq);
CREATE INDEX job_by_session ON job (session_id, seq) WHERE session_id IS NOT NULL;
CREATE INDEX job_by_name ON job (job_name, seq) WHERE job_name IS NOT NULL;

-- A job's hot row, all that a change of state rewrites: narrow, with as few indexes as will do, and room in each page
-- so that the new version lies beside the old one and is pruned there.
CREATE TABLE job_state (
    seq bigint PRIMARY KEY,
    backend text NOT NULL,
    priority integer NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    num_qubits integer,
    started_at double precision,
    updated_at double precision NOT NULL,
    ended_at double precision
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX job_queued ON job_state (backend, priority, seq) WHERE status = 'QUEUED';
CREATE INDEX job_by_status ON job_state (status, seq);

-- Source and results: one byte (0 raw, 1 zlib), the CRC-32 of the text, the text.
CREATE TABLE job_source (seq bigint PRIMARY KEY, source bytea NOT NULL);
ALTER TABLE job_source ALTER COLUMN source SET STORAGE EXTERNAL;  -- it is deflated already
CREATE TABLE job_result (seq bigint PRIMARY KEY, results bytea NOT NULL);
CREATE TABLE job_tag (tag text NOT NULL, seq bigint NOT NULL, PRIMARY KEY (tag, seq));  -- a tag as a JSON string
CREATE INDEX job_tag_by_job ON job_tag (seq);

-- The highest seq ever given, also when that job is deleted.
CREATE TABLE job_counter (last_seq bigint NOT NULL);
INSERT INTO job_counter VALUES (0);

-- Ids of deleted jobs, which stay taken until then.
CREATE TABLE deleted_job (job_id text PRIMARY KEY, until double precision NOT NULL);
CREATE INDEX deleted_job_by_time ON deleted_job (until);

-- The outbox: a row goes in with the job's final state and leaves when its delivery has ended either way.
CREATE TABLE callback (
    webhook_id text PRIMARY KEY,
    seq bigint NOT NULL,
    spec bytea NOT NULL,
    body bytea NOT NULL,
    tries integer NOT NULL,
    due_at double precision NOT NULL
);
CREATE INDEX callback_by_time ON callback (due_at);

CREATE TABLE callback_log (
    webhook_id text PRIMARY KEY,
    seq bigint NOT NULL,
    delivered boolean NOT NULL,
    tries integer NOT NULL,             -- failed posts before the last one
    note text NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX callback_log_by_job ON callback_log (seq);

-- State of the server's other parts by name, such as its sessions.
CREATE TABLE note (name text PRIMARY KEY, value bytea NOT NULL);

-- Who owns the database: one row for each time that a server took it, and took it again after a lost connection.
-- Every flush sets its number here, in the row of its own epoch and only while that has not ended. So the row's lock
-- orders a flush against a new owner, a late flush of an old owner changes nothing, and whether a commit whose answer
-- got lost took place can be looked up.
CREATE TABLE tenure (
    epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server text NOT NULL,
    flush bigint NOT NULL,
    ended boolean NOT NULL DEFAULT false,
    began_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX tenure_open ON tenure (epoch) WHERE NOT ended;
