"""Tables of the floor with protections: those of the hot path of DESIGN 5 and 6, with the indexes and checks that their rules need and
nothing that pages, lists or the API want."""

from __future__ import annotations

TABLES = """
DROP TABLE IF EXISTS guarded_second_look, guarded_tally_delta, guarded_delivery, guarded_log, guarded_evaluation, guarded_run,
    guarded_routed, guarded_unrouted, guarded_content, guarded_event, guarded_worker, guarded_customer, guarded_automation CASCADE;
CREATE TABLE guarded_automation (id bigint PRIMARY KEY, workspace_id bigint NOT NULL, state text NOT NULL, version_id bigint NOT NULL,
    listens text NOT NULL);
CREATE TABLE guarded_customer (id bigint PRIMARY KEY, workspace_id bigint NOT NULL, name text NOT NULL, email text NOT NULL,
    plan text NOT NULL);
CREATE TABLE guarded_worker (id bigserial PRIMARY KEY, holding bigint[] NOT NULL DEFAULT '{}', beat_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE guarded_event (id bigserial PRIMARY KEY, workspace_id bigint NOT NULL, name text NOT NULL, source text NOT NULL,
    key text NOT NULL, body_sha256 text NOT NULL, customer_id bigint, subjects jsonb NOT NULL, occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(), shard smallint NOT NULL, UNIQUE (workspace_id, source, key));
CREATE INDEX ON guarded_event (workspace_id, customer_id, id);
CREATE TABLE guarded_content (event_id bigint, recorded_at timestamptz, workspace_id bigint NOT NULL, payload json NOT NULL,
    PRIMARY KEY (event_id, recorded_at)) PARTITION BY RANGE (recorded_at);
CREATE TABLE guarded_unrouted (shard smallint, event_id bigint, workspace_id bigint NOT NULL, PRIMARY KEY (shard, event_id));
CREATE TABLE guarded_routed (event_id bigint PRIMARY KEY, workspace_id bigint NOT NULL, routed_at timestamptz NOT NULL);
CREATE TABLE guarded_evaluation (event_id bigint, recorded_at timestamptz DEFAULT now(), workspace_id bigint NOT NULL,
    decisions jsonb NOT NULL, PRIMARY KEY (event_id, recorded_at)) PARTITION BY RANGE (recorded_at);
CREATE TABLE guarded_run (id bigserial PRIMARY KEY, workspace_id bigint NOT NULL, automation_id bigint NOT NULL,
    version_id bigint NOT NULL, event_id bigint NOT NULL, customer_id bigint NOT NULL REFERENCES guarded_customer,
    subjects jsonb NOT NULL, mode text NOT NULL DEFAULT 'live', status text NOT NULL, parked_on text, due_at timestamptz,
    step text NOT NULL, seq int NOT NULL DEFAULT 0, attempt smallint NOT NULL DEFAULT 0, entered_at timestamptz, state jsonb,
    wait_name text, wait_key text, wait_since bigint, end_reason text, started_at timestamptz NOT NULL, ended_at timestamptz,
    steps_executed int NOT NULL DEFAULT 0, lost smallint NOT NULL DEFAULT 0, UNIQUE (workspace_id, automation_id, event_id, mode),
    CHECK (status IN ('RUNNING', 'WAITING', 'COMPLETED', 'CANCELLED', 'FAILED')),
    CHECK ((status IN ('RUNNING', 'WAITING')) = (ended_at IS NULL AND end_reason IS NULL)),
    CHECK (ended_at IS NULL OR due_at IS NULL AND parked_on IS NULL AND wait_name IS NULL)) WITH (fillfactor = 85);
CREATE INDEX ON guarded_run (workspace_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ON guarded_run (workspace_id, wait_name, wait_key) WHERE wait_name IS NOT NULL;
CREATE INDEX ON guarded_run (id) WHERE lost > 0;
CREATE INDEX ON guarded_run (customer_id, id);
CREATE INDEX ON guarded_run (workspace_id, automation_id, id) WHERE ended_at IS NULL;
CREATE TABLE guarded_log (run_id bigint, seq int, attempt smallint, recorded_at timestamptz DEFAULT now(), workspace_id bigint NOT NULL,
    step text NOT NULL, type text NOT NULL, status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'skipped')), port text,
    started_at timestamptz NOT NULL, ended_at timestamptz NOT NULL, input jsonb, output jsonb,
    PRIMARY KEY (run_id, seq, attempt, recorded_at)) PARTITION BY RANGE (recorded_at);
CREATE TABLE guarded_delivery (id bigserial PRIMARY KEY, workspace_id bigint NOT NULL, run_id bigint NOT NULL REFERENCES guarded_run,
    visit int NOT NULL, effect smallint NOT NULL, key text NOT NULL, automation_id bigint NOT NULL, step text NOT NULL,
    kind text NOT NULL, state text NOT NULL, customer_id bigint, recipient text NOT NULL, subject text NOT NULL,
    envelope jsonb NOT NULL, due_at timestamptz, created_at timestamptz NOT NULL, attempts smallint NOT NULL DEFAULT 0,
    fence int NOT NULL DEFAULT 0, UNIQUE (run_id, visit, effect));
CREATE INDEX ON guarded_delivery (workspace_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ON guarded_delivery (workspace_id, lower(recipient)) WHERE state = 'QUEUED';
CREATE TABLE guarded_tally_delta (id bigserial PRIMARY KEY, workspace_id bigint NOT NULL, automation_id bigint NOT NULL,
    version_id bigint NOT NULL, step text NOT NULL, port text NOT NULL, day date NOT NULL, count bigint NOT NULL);
CREATE TABLE guarded_second_look (run_id bigint PRIMARY KEY REFERENCES guarded_run, workspace_id bigint NOT NULL, customer_id bigint,
    since bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO guarded_automation VALUES (1, 1, 'ACTIVE', 11, 'payment_trouble'), (2, 1, 'ACTIVE', 12, 'waiting_begins');
"""
PARTITION = """
CREATE TABLE {table}_now PARTITION OF {table}
FOR VALUES FROM (date_trunc('month', now() - interval '1 day')) TO (date_trunc('month', now()) + interval '2 months')
"""
PARTITIONED = ("guarded_content", "guarded_evaluation", "guarded_log")
