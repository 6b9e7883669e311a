-- What the last try of a delivery came to, and the few that were given up among very many that were not.
ALTER TABLE callback ADD COLUMN note TEXT;
CREATE INDEX callback_log_given_up ON callback_log (seq) WHERE delivered = 0;
