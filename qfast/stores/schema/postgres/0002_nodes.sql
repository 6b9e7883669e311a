-- Several servers, called nodes, on one database. A job belongs to the node whose epoch is its owner: it has claimed it, and
-- alone may start and end it. Without an owner it waits for any node; a job of a session waits for its session's node.
ALTER TABLE job_state ADD COLUMN owner bigint;
ALTER TABLE job_state ADD COLUMN session_id text;
UPDATE job_state SET session_id = job.session_id FROM job WHERE job.seq = job_state.seq AND job.session_id IS NOT NULL;
DROP INDEX job_queued;
CREATE INDEX job_queued ON job_state (backend, priority, seq)
    WHERE status = 'QUEUED' AND owner IS NULL AND session_id IS NULL;
CREATE INDEX job_queued_in_session ON job_state (session_id, seq)
    WHERE status = 'QUEUED' AND owner IS NULL AND session_id IS NOT NULL;
CREATE INDEX job_held ON job_state (owner) WHERE owner IS NOT NULL;

-- The order of submits over all nodes; it needs no row that all of them would wait for.
CREATE SEQUENCE job_seq;
SELECT setval('job_seq', last_seq + 1, false) FROM job_counter;
DROP TABLE job_counter;

-- A delivery that a node holds is not taken by another.
ALTER TABLE callback ADD COLUMN owner bigint;
CREATE INDEX callback_held ON callback (owner) WHERE owner IS NOT NULL;

-- A node's tenure lasts until it ends it or another node does, which has seen its heartbeat stand still. The number of
-- its link grows each time that its connections are made anew, so that a flush of an old connection, still on its way,
-- changes nothing.
ALTER TABLE tenure ADD COLUMN link integer NOT NULL DEFAULT 0;
UPDATE tenure SET ended = true;

-- Apart from the tenure, whose row a flush holds locked while it goes on.
CREATE TABLE heartbeat (epoch bigint PRIMARY KEY, beats bigint NOT NULL) WITH (fillfactor = 50);

-- A session belongs to one node, which runs its timers and its jobs. Any other may leave a wish there: close or cancel.
CREATE TABLE session (
    session_id text PRIMARY KEY,
    owner bigint,
    backend text NOT NULL,
    takes_jobs boolean NOT NULL,
    opened_at double precision NOT NULL,
    wish text,
    value bytea NOT NULL,               -- the session as JSON
    view bytea NOT NULL                 -- as the wire shows it
);
CREATE INDEX session_by_owner ON session (owner);
