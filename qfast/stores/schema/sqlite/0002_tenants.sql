-- Whose a job is; empty for those of a server without keys.
ALTER TABLE job ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX job_by_tenant ON job (tenant, seq) WHERE tenant <> '';
