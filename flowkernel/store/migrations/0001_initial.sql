-- The first schema. Tables live in the schema `store` and are only ever appended to; people read the views in `main`.
-- Instants are BIGINT nanoseconds since the Unix epoch, UTC. There are no indexes: they would cost more at each commit than the
-- scans that they save.

create schema store;

-- Which migrations this file has seen.
create table store.schema_version (
    version integer not null,
    name varchar not null,
    applied bigint not null
);

-- What this file remembers about itself, such as which views it holds.
create table store.settings (
    name varchar not null,
    value varchar not null
);

-- Each namespace is a world of its own: ids, histories, retention (nanoseconds, 0 keeps for ever).
create table store.namespaces (
    namespace varchar not null,
    description varchar not null,
    retention bigint not null,
    created bigint not null
);

insert into store.namespaces values ('default', '', 0, 0);

-- Source code of workflow definitions, by its hash.
create table store.definitions (
    hash varchar not null,
    kind varchar not null,
    name varchar not null,
    source varchar not null,
    created bigint not null
);

-- One row for each run, written in the transaction of its first event. `run_key` grows in the order of the starts.
create table store.runs (
    run_key bigint not null,
    namespace varchar not null,
    workflow_id varchar not null,
    run_id varchar not null,
    workflow_type varchar not null,
    task_queue varchar not null,
    start_time bigint not null
);

-- The truth: events and, with event_id 0, the records beside them. They share one table because each table that a commit touches
-- adds half a millisecond to it, and each column a twentieth; what is rarely asked for stays inside `data`.
-- Rows of a run are in order of (seq, rowid): within one transition, events come before records.
create table store.entries (
    run_key bigint not null,
    seq bigint not null,
    event_id integer not null,
    time bigint not null,
    name varchar not null,
    data varchar not null,
    user_metadata varchar
);
