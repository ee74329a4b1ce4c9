-- Each query starts with a line `-- name:`, then what it is for. Parameters are numbered in the order of the call.

-- name: counters
-- The last run_key and seq that were given out, to continue after them.
select coalesce((select max(run_key) from store.runs), 0), coalesce((select max(seq) from store.entries), 0);

-- name: started_ids
-- Every workflow id that was ever used, so that a start under a new one needs no query.
select distinct namespace, workflow_id from store.runs;

-- name: open_keys
-- run_id and run_key of the runs without a closing event.
select run_id, run_key
from store.runs
where run_key not in (select run_key from store.entries where event_id > 0 and name in (select name from store.closings))
order by run_key;

-- name: key_of_run
-- run_key of a run id.
select run_key from store.runs where run_id = $1;

-- name: history
-- The events of a run after an event id.
select event_id, time, name, data, user_metadata
from store.entries
where run_key = $1 and event_id > $2
order by event_id;

-- name: records
-- The records of a run. The rowid keeps those of one transition in the order in which they were appended.
select name, data from store.entries where run_key = $1 and event_id = 0 order by seq, rowid;

-- name: open_entries
-- All that the open runs consist of, run after run, for recovery.
select r.namespace, r.workflow_id, r.run_id, e.run_key, e.event_id, e.time, e.name, e.data, e.user_metadata
from store.entries as e
join store.runs as r using (run_key)
where e.run_key not in (select run_key from store.entries where event_id > 0 and name in (select name from store.closings))
order by e.run_key, e.seq, e.rowid;

-- name: latest_run
-- The run of a workflow id that started last.
select max(run_key) from store.runs where namespace = $1 and workflow_id = $2;

-- name: named_run
-- The run of a workflow id with this run id.
select max(run_key) from store.runs where namespace = $1 and workflow_id = $2 and run_id = $3;

-- name: run_row
-- What is known of a run without its history: its first event, its closing event, how many events it has.
select
    r.namespace, r.workflow_id, r.run_id, r.start_time, s.data, s.user_metadata,
    coalesce(c.status, 1), coalesce(c.close_time, 0), l.history_length
from (select * from store.runs where run_key = $1) as r
join (select run_key, data, user_metadata from store.entries where run_key = $1 and event_id = 1) as s using (run_key)
join (select run_key, max(event_id) as history_length from store.entries where run_key = $1 group by run_key) as l using (run_key)
left join (
    select e.run_key, n.status, e.time as close_time
    from store.entries as e
    join store.closings as n using (name)
    where e.run_key = $1 and e.event_id > 0
) as c using (run_key);

-- name: list_runs
-- Runs of a namespace, latest start first. A NULL for status, type or id means any.
with
    wanted as (
        select *
        from store.runs
        where namespace = $1
            and ($2::varchar is null or workflow_type = $2)
            and ($3::varchar is null or workflow_id = $3)
    ),
    closed as (
        select e.run_key, n.status, e.time as close_time
        from store.entries as e
        join store.closings as n using (name)
        where e.event_id > 0
    ),
    page as (
        select w.*, coalesce(c.status, 1) as status, coalesce(c.close_time, 0) as close_time
        from wanted as w
        left join closed as c using (run_key)
        where $4::integer is null or coalesce(c.status, 1) = $4
        order by w.start_time desc, w.run_key desc
        limit $5
    ),
    lengths as (
        select run_key, max(event_id) as history_length
        from store.entries
        where run_key in (select run_key from page)
        group by run_key
    )
select
    p.namespace, p.workflow_id, p.run_id, p.start_time, s.data, s.user_metadata, p.status, p.close_time, l.history_length
from page as p
join lengths as l using (run_key)
join (select run_key, data, user_metadata from store.entries where event_id = 1) as s using (run_key)
order by p.start_time desc, p.run_key desc;
