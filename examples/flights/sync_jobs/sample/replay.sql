-- What happened after :after and up to :until, as the rows that it left: replay.py runs this on the source, inside one
-- transaction, with the whole year attached as `archive`. A flight is
--   scheduled  one day before its scheduled departure,
--   departed   at its scheduled departure and its delay,
--   arrived    after its time in the air and 20 minutes of taxiing (one hour where the time in the air is unknown),
--   cancelled  one hour after the scheduled departure of a flight that never left.
-- What is not known yet is null. Flights due before :begins are left out. Times are UTC, as in updated_at.

insert into main.flights
    (year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight,
     tailnum, origin, dest, air_time, distance, hour, minute, time_hour, status, updated_at)
select
    f.year, f.month, f.day,
    iif(e.departed_at <= :until, f.dep_time, null),
    f.sched_dep_time,
    iif(e.departed_at <= :until, f.dep_delay, null),
    iif(e.arrived_at <= :until, f.arr_time, null),
    f.sched_arr_time,
    iif(e.arrived_at <= :until, f.arr_delay, null),
    f.carrier, f.flight, f.tailnum, f.origin, f.dest,
    iif(e.arrived_at <= :until, f.air_time, null),
    f.distance, f.hour, f.minute, f.time_hour,
    case
        when e.arrived_at <= :until then 'arrived'
        when e.cancelled_at <= :until then 'cancelled'
        when e.departed_at <= :until then 'departed'
        else 'scheduled'
    end,
    case
        when e.arrived_at <= :until then e.arrived_at
        when e.cancelled_at <= :until then e.cancelled_at
        when e.departed_at <= :until then e.departed_at
        else e.scheduled_at
    end
from archive.events as e
inner join archive.flights as f on f.rowid = e.flight
where e.due_at >= :begins
  and (e.scheduled_at > :after and e.scheduled_at <= :until
    or e.departed_at > :after and e.departed_at <= :until
    or e.arrived_at > :after and e.arrived_at <= :until
    or e.cancelled_at > :after and e.cancelled_at <= :until)
on conflict (year, month, day, carrier, flight, origin) do update set
    dep_time = excluded.dep_time,
    dep_delay = excluded.dep_delay,
    arr_time = excluded.arr_time,
    arr_delay = excluded.arr_delay,
    air_time = excluded.air_time,
    status = excluded.status,
    updated_at = excluded.updated_at;

-- An observation is written an hour after the start of its hour: its updated_at says when.
insert into main.weather
select * from archive.weather
where time_hour >= :begins and updated_at > :after and updated_at <= :until;
