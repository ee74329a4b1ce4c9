-- What people query. Made anew whenever this file changes, so a view may change without a migration; tables may not.
-- Times are TIMESTAMP in UTC, with microseconds. Payloads show the value inside when that is JSON, else the payload as it is stored.

-- Building blocks ------------------------------------------------------------------------------------------------------

create or replace macro store.instant(ns) as make_timestamp(ns // 1000);

-- json_extract and not `->`: inside a macro the arrow would begin a lambda.
create or replace macro store.payload(stored) as
    case
        when json_type(stored, '$.data') is distinct from 'VARCHAR' then stored
        when json_extract_string(stored, '$.metadata.encoding') = 'binary/null' then 'null'::json
        when json_extract_string(stored, '$.metadata.encoding') like 'json/%'
            then coalesce(try_cast(json_extract_string(stored, '$.data') as json), stored)
        else stored
    end;

create or replace macro store.payloads(stored) as to_json([store.payload(item) for item in cast(stored as json[])]);

create or replace macro store.failure(stored) as
    nullif(
        concat_ws(
            ': ',
            nullif(json_extract_string(stored, '$.message'), ''),
            nullif(json_extract_string(stored, '$.cause.message'), ''),
            nullif(json_extract_string(stored, '$.cause.cause.message'), '')
        ),
        ''
    );

create or replace macro store.number(stored, path, otherwise) as coalesce(cast(json_extract_string(stored, path) as bigint), otherwise);

-- Event types that end a run, the number of the status that follows, and the word for it.
create or replace view store.closings as
select *
from (
    values
        ('WorkflowExecutionCompleted', 2, 'Completed'),
        ('WorkflowExecutionFailed', 3, 'Failed'),
        ('WorkflowExecutionCanceled', 4, 'Canceled'),
        ('WorkflowExecutionTerminated', 5, 'Terminated'),
        ('WorkflowExecutionContinuedAsNew', 6, 'ContinuedAsNew'),
        ('WorkflowExecutionTimedOut', 7, 'TimedOut')
) as closings(name, status, word);

create or replace view store.closed_runs as
select e.run_key, e.time as close_time, n.word, e.data
from store.entries as e
join store.closings as n using (name)
where e.event_id > 0;

create or replace view store.activity_starts as
select
    run_key, seq, time, name,
    store.number(data, '$.scheduled_event_id', 0) as scheduled_event_id,
    store.number(data, '$.attempt', 1) as attempt,
    json_extract_string(data, '$.identity') as identity
from store.entries
where event_id = 0 and name in ('ActivityAttemptStarted', 'ActivityAttemptFailed', 'ActivityAttemptReleased');

create or replace view store.activity_ends as
select
    e.run_key, e.time,
    store.number(e.data, '$.scheduled_event_id', 0) as scheduled_event_id,
    replace(e.name, 'ActivityTask', '') as word,
    store.payload(json_extract(e.data, '$.result[0]')) as result,
    store.failure(json_extract(e.data, '$.failure')) as failure,
    store.number(s.data, '$.attempt', 1) as attempt
from store.entries as e
left join store.entries as s
    on s.run_key = e.run_key and s.event_id = store.number(e.data, '$.started_event_id', 0) and s.name = 'ActivityTaskStarted'
where e.event_id > 0
    and e.name in ('ActivityTaskCompleted', 'ActivityTaskFailed', 'ActivityTaskTimedOut', 'ActivityTaskCanceled');

-- Executions -----------------------------------------------------------------------------------------------------------

create or replace view main.executions as
select
    r.namespace, r.workflow_id, r.run_id, r.workflow_type, r.task_queue,
    coalesce(c.word, 'Running') as status,
    store.instant(r.start_time) as start_time,
    store.instant(c.close_time) as close_time,
    to_microseconds((c.close_time - r.start_time) // 1000) as duration,
    l.history_length,
    store.payloads(json_extract(s.data, '$.input')) as input,
    store.payload(json_extract(c.data, '$.result[0]')) as result,
    case
        when c.word = 'Terminated' then nullif(json_extract_string(c.data, '$.reason'), '')
        else store.failure(json_extract(c.data, '$.failure'))
    end as failure
from store.runs as r
join (select run_key, data from store.entries where event_id = 1) as s using (run_key)
join (select run_key, max(event_id) as history_length from store.entries group by run_key) as l using (run_key)
left join store.closed_runs as c using (run_key);

comment on view main.executions is 'One row for each run of a workflow.';
comment on column main.executions.namespace is 'The world in which the workflow id is unique.';
comment on column main.executions.workflow_id is 'What people call the execution.';
comment on column main.executions.run_id is 'This run of it; a UUID that sorts by time.';
comment on column main.executions.workflow_type is 'Name of the workflow definition.';
comment on column main.executions.task_queue is 'Where its tasks wait for a worker.';
comment on column main.executions.status is 'Running, Completed, Failed, Canceled, Terminated, TimedOut or ContinuedAsNew.';
comment on column main.executions.start_time is 'When it started, UTC.';
comment on column main.executions.close_time is 'When it ended, UTC; NULL while it runs.';
comment on column main.executions.duration is 'From start to end; NULL while it runs.';
comment on column main.executions.history_length is 'Number of events so far.';
comment on column main.executions.input is 'The arguments it was started with, as a JSON list.';
comment on column main.executions.result is 'What it returned.';
comment on column main.executions.failure is 'Messages of the failure that ended it, outermost first; the reason if it was terminated.';

-- Events ---------------------------------------------------------------------------------------------------------------

create or replace view main.events as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    store.instant(e.time) as event_time,
    e.name as event_type,
    cast(e.data as json) as attributes,
    json_extract_string(store.payload(json_extract(e.user_metadata, '$.summary')), '$') as summary
from store.entries as e
join store.runs as r using (run_key)
where e.event_id > 0;

comment on view main.events is 'The histories: one row for each event of each run.';
comment on column main.events.namespace is 'Namespace of the run.';
comment on column main.events.workflow_id is 'Workflow id of the run.';
comment on column main.events.run_id is 'The run.';
comment on column main.events.event_id is 'Place in the history, from 1.';
comment on column main.events.event_time is 'When it happened, UTC.';
comment on column main.events.event_type is 'What happened, under its name in Temporal.';
comment on column main.events.attributes is 'What belongs to it, as JSON. Durations are nanoseconds.';
comment on column main.events.summary is 'One line for people, if the author gave one.';

-- Activities -----------------------------------------------------------------------------------------------------------

create or replace view main.activities as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    json_extract_string(e.data, '$.activity_id') as activity_id,
    json_extract_string(e.data, '$.activity_type') as activity_type,
    json_extract_string(e.data, '$.task_queue') as task_queue,
    case
        when d.word is not null then d.word
        when c.word is not null then 'Abandoned'
        when a.latest = 'ActivityAttemptStarted' then 'Started'
        when a.latest = 'ActivityAttemptFailed' then 'BackingOff'
        when a.latest = 'ActivityAttemptReleased' then 'Released'
        else 'Scheduled'
    end as status,
    coalesce(a.attempts, 0) as attempts,
    store.instant(e.time) as scheduled_time,
    store.instant(a.started_time) as started_time,
    store.instant(d.time) as close_time,
    to_microseconds((d.time - e.time) // 1000) as duration,
    store.payloads(json_extract(e.data, '$.input')) as input,
    d.result,
    d.failure,
    json_extract_string(store.payload(json_extract(e.user_metadata, '$.summary')), '$') as summary
from store.entries as e
join store.runs as r using (run_key)
left join (
    select
        run_key, scheduled_event_id,
        arg_max(name, (seq, time)) as latest,
        count(*) filter (where name = 'ActivityAttemptStarted') as attempts,
        max(time) filter (where name = 'ActivityAttemptStarted') as started_time
    from store.activity_starts
    group by run_key, scheduled_event_id
) as a on a.run_key = e.run_key and a.scheduled_event_id = e.event_id
left join store.activity_ends as d on d.run_key = e.run_key and d.scheduled_event_id = e.event_id
left join store.closed_runs as c on c.run_key = e.run_key
where e.event_id > 0 and e.name = 'ActivityTaskScheduled';

comment on view main.activities is 'One row for each activity that a workflow asked for.';
comment on column main.activities.namespace is 'Namespace of the run.';
comment on column main.activities.workflow_id is 'Workflow id of the run.';
comment on column main.activities.run_id is 'The run.';
comment on column main.activities.event_id is 'The event with which it was scheduled.';
comment on column main.activities.activity_id is 'Its id within the run.';
comment on column main.activities.activity_type is 'Name of the activity definition.';
comment on column main.activities.task_queue is 'Where its tasks wait for a worker.';
comment on column main.activities.status is 'Scheduled, Started, BackingOff, Released (completed from outside), Completed, Failed, TimedOut, Canceled, or Abandoned when the run closed first.';
comment on column main.activities.attempts is 'How many attempts have started.';
comment on column main.activities.scheduled_time is 'When the workflow asked for it, UTC.';
comment on column main.activities.started_time is 'When its latest attempt started, UTC.';
comment on column main.activities.close_time is 'When it ended, UTC.';
comment on column main.activities.duration is 'From scheduling to end, retries included.';
comment on column main.activities.input is 'Its arguments, as a JSON list.';
comment on column main.activities.result is 'What it returned.';
comment on column main.activities.failure is 'Messages of the failure that ended it, outermost first.';
comment on column main.activities.summary is 'One line for people, if the author gave one.';

-- Attempts -------------------------------------------------------------------------------------------------------------

create or replace view main.attempts as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    json_extract_string(e.data, '$.activity_id') as activity_id,
    json_extract_string(e.data, '$.activity_type') as activity_type,
    b.attempt,
    case
        when f.time is not null then 'Failed'
        when d.word is not null then d.word
        when c.word is not null then 'Abandoned'
        when l.time is not null then 'Released'
        else 'Started'
    end as status,
    store.instant(b.time) as started_time,
    store.instant(coalesce(f.time, d.time)) as close_time,
    to_microseconds((coalesce(f.time, d.time) - b.time) // 1000) as duration,
    coalesce(f.failure, d.failure) as failure,
    store.instant(f.next_attempt_time) as next_attempt_time,
    nullif(b.identity, '') as identity,
    store.instant(h.time) as heartbeat_time,
    store.payloads(h.details) as heartbeat_details
from (select * from store.activity_starts where name = 'ActivityAttemptStarted') as b
join store.entries as e on e.run_key = b.run_key and e.event_id = b.scheduled_event_id
join store.runs as r on r.run_key = b.run_key
left join (
    select
        run_key, time,
        store.number(data, '$.scheduled_event_id', 0) as scheduled_event_id,
        store.number(data, '$.attempt', 1) as attempt,
        store.failure(json_extract(data, '$.failure')) as failure,
        store.number(data, '$.next_attempt_time', null) as next_attempt_time
    from store.entries
    where event_id = 0 and name = 'ActivityAttemptFailed'
) as f on f.run_key = b.run_key and f.scheduled_event_id = b.scheduled_event_id and f.attempt = b.attempt
left join (select * from store.activity_starts where name = 'ActivityAttemptReleased') as l
    on l.run_key = b.run_key and l.scheduled_event_id = b.scheduled_event_id and l.attempt = b.attempt
left join store.activity_ends as d
    on d.run_key = b.run_key and d.scheduled_event_id = b.scheduled_event_id and d.attempt = b.attempt
left join store.closed_runs as c on c.run_key = b.run_key
left join (
    select
        run_key,
        store.number(data, '$.scheduled_event_id', 0) as scheduled_event_id,
        store.number(data, '$.attempt', 1) as attempt,
        max(time) as time,
        arg_max(json_extract(data, '$.details'), (seq, time)) as details
    from store.entries
    where event_id = 0 and name = 'ActivityHeartbeatRecorded'
    group by all
) as h on h.run_key = b.run_key and h.scheduled_event_id = b.scheduled_event_id and h.attempt = b.attempt;

comment on view main.attempts is 'One row for each attempt of each activity.';
comment on column main.attempts.namespace is 'Namespace of the run.';
comment on column main.attempts.workflow_id is 'Workflow id of the run.';
comment on column main.attempts.run_id is 'The run.';
comment on column main.attempts.event_id is 'The event with which the activity was scheduled.';
comment on column main.attempts.activity_id is 'The activity''s id within the run.';
comment on column main.attempts.activity_type is 'Name of the activity definition.';
comment on column main.attempts.attempt is 'Which try this is, from 1.';
comment on column main.attempts.status is 'Started, Released, Completed, Failed, TimedOut, Canceled, or Abandoned when the run closed first.';
comment on column main.attempts.started_time is 'When a worker was given it, UTC.';
comment on column main.attempts.close_time is 'When it ended, UTC.';
comment on column main.attempts.duration is 'From start to end.';
comment on column main.attempts.failure is 'Messages of its failure, outermost first.';
comment on column main.attempts.next_attempt_time is 'When the next try is due, UTC.';
comment on column main.attempts.identity is 'The worker that ran it.';
comment on column main.attempts.heartbeat_time is 'When it last said that it is alive, UTC.';
comment on column main.attempts.heartbeat_details is 'What it said then, as a JSON list.';

-- Timers ---------------------------------------------------------------------------------------------------------------

create or replace view main.timers as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    json_extract_string(e.data, '$.timer_id') as timer_id,
    case
        when d.name = 'TimerFired' then 'Fired'
        when d.name = 'TimerCanceled' then 'Canceled'
        when c.word is not null then 'Abandoned'
        else 'Ticking'
    end as status,
    store.instant(e.time) as start_time,
    store.instant(e.time + store.number(e.data, '$.start_to_fire_timeout', 0)) as due_time,
    store.instant(d.time) as close_time,
    to_microseconds(store.number(e.data, '$.start_to_fire_timeout', 0) // 1000) as timeout,
    json_extract_string(store.payload(json_extract(e.user_metadata, '$.summary')), '$') as summary
from store.entries as e
join store.runs as r using (run_key)
left join (
    select run_key, time, name, store.number(data, '$.started_event_id', 0) as started_event_id
    from store.entries
    where event_id > 0 and name in ('TimerFired', 'TimerCanceled')
) as d on d.run_key = e.run_key and d.started_event_id = e.event_id
left join store.closed_runs as c on c.run_key = e.run_key
where e.event_id > 0 and e.name = 'TimerStarted';

comment on view main.timers is 'One row for each timer that a workflow started.';
comment on column main.timers.namespace is 'Namespace of the run.';
comment on column main.timers.workflow_id is 'Workflow id of the run.';
comment on column main.timers.run_id is 'The run.';
comment on column main.timers.event_id is 'The event with which it was started.';
comment on column main.timers.timer_id is 'Its id within the run.';
comment on column main.timers.status is 'Ticking, Fired, Canceled, or Abandoned when the run closed first.';
comment on column main.timers.start_time is 'When it was started, UTC.';
comment on column main.timers.due_time is 'When it is or was due, UTC.';
comment on column main.timers.close_time is 'When it fired or was cancelled, UTC.';
comment on column main.timers.timeout is 'How long it was set for.';
comment on column main.timers.summary is 'One line for people, if the author gave one.';

-- Signals --------------------------------------------------------------------------------------------------------------

create or replace view main.signals as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    json_extract_string(e.data, '$.signal_name') as signal_name,
    store.instant(e.time) as signal_time,
    store.payloads(json_extract(e.data, '$.input')) as input,
    nullif(json_extract_string(e.data, '$.identity'), '') as identity
from store.entries as e
join store.runs as r using (run_key)
where e.event_id > 0 and e.name = 'WorkflowExecutionSignaled';

comment on view main.signals is 'One row for each signal in a history. One that arrives while a workflow task runs gets its row when that task ends.';
comment on column main.signals.namespace is 'Namespace of the run.';
comment on column main.signals.workflow_id is 'Workflow id of the run.';
comment on column main.signals.run_id is 'The run.';
comment on column main.signals.event_id is 'Its place in the history.';
comment on column main.signals.signal_name is 'Name of the signal.';
comment on column main.signals.signal_time is 'When it arrived, UTC.';
comment on column main.signals.input is 'Its arguments, as a JSON list.';
comment on column main.signals.identity is 'Who sent it.';

-- Output ---------------------------------------------------------------------------------------------------------------

create or replace view main.activity_output as
select
    r.namespace, r.workflow_id, r.run_id, e.event_id,
    json_extract_string(e.data, '$.activity_id') as activity_id,
    json_extract_string(e.data, '$.activity_type') as activity_type,
    o.attempt,
    store.instant(o.time) as output_time,
    o.seq, o.stream, o.text
from (
    select
        run_key, seq, time,
        store.number(data, '$.scheduled_event_id', 0) as scheduled_event_id,
        store.number(data, '$.attempt', 1) as attempt,
        json_extract_string(data, '$.stream') as stream,
        json_extract_string(data, '$.text') as text
    from store.entries
    where event_id = 0 and name = 'ActivityOutputCaptured'
) as o
join store.entries as e on e.run_key = o.run_key and e.event_id = o.scheduled_event_id
join store.runs as r on r.run_key = o.run_key;

comment on view main.activity_output is 'What attempts printed and logged: one row for each piece of text.';
comment on column main.activity_output.namespace is 'Namespace of the run.';
comment on column main.activity_output.workflow_id is 'Workflow id of the run.';
comment on column main.activity_output.run_id is 'The run.';
comment on column main.activity_output.event_id is 'The event with which the activity was scheduled.';
comment on column main.activity_output.activity_id is 'The activity''s id within the run.';
comment on column main.activity_output.activity_type is 'Name of the activity definition.';
comment on column main.activity_output.attempt is 'Which try wrote it.';
comment on column main.activity_output.output_time is 'When it was written, UTC.';
comment on column main.activity_output.seq is 'Order in which it became durable.';
comment on column main.activity_output.stream is 'stdout, stderr or log.';
comment on column main.activity_output.text is 'The text.';
