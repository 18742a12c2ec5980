-- Runs once, after the CSVs are loaded: stamps every row, then keeps updated_at by triggers. The times of the CSVs
-- ('2013-01-01T10:00:00Z') take the form of updated_at: one form of time in the whole database.

-- The registers were loaded before the first flight.
update airlines set updated_at = '2013-01-01 00:00:00.000';
update airports set updated_at = '2013-01-01 00:00:00.000';
update planes set updated_at = '2013-01-01 00:00:00.000';

-- The data has no time of writing; this one is derived. An observation is written an hour after the start of its hour.
update weather set
    time_hour = strftime('%Y-%m-%d %H:%M:%f', time_hour),
    updated_at = strftime('%Y-%m-%d %H:%M:%f', time_hour, '+1 hour');

-- A flight is last written when it has landed, or has departed, or is called off. Landed: the scheduled departure, the
-- delay, the time in the air and 20 minutes of taxiing (one hour where the time in the air is unknown). Departed and
-- never seen again: the departure. Called off: one hour after the scheduled departure.
update flights set
    time_hour = strftime('%Y-%m-%d %H:%M:%f', time_hour),
    status = case when dep_time is null then 'cancelled' when arr_time is null then 'departed' else 'arrived' end,
    updated_at = strftime(
        '%Y-%m-%d %H:%M:%f',
        time_hour,
        (minute + case
            when dep_time is null then 60
            when arr_time is null then dep_delay
            else dep_delay + coalesce(air_time + 20, 60)
        end) || ' minutes'
    );

-- A writer who says nothing about updated_at gets the time of the write; a value that is given is kept.

create trigger airlines_inserted after insert on airlines when new.updated_at is null
begin
    update airlines set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where carrier = new.carrier;
end;
create trigger airlines_updated after update on airlines when new.updated_at is old.updated_at
begin
    update airlines set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where carrier = new.carrier;
end;

create trigger airports_inserted after insert on airports when new.updated_at is null
begin
    update airports set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where faa = new.faa;
end;
create trigger airports_updated after update on airports when new.updated_at is old.updated_at
begin
    update airports set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where faa = new.faa;
end;

create trigger flights_inserted after insert on flights when new.updated_at is null
begin
    update flights set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where rowid = new.rowid;
end;
create trigger flights_updated after update on flights when new.updated_at is old.updated_at
begin
    update flights set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where rowid = new.rowid;
end;

create trigger planes_inserted after insert on planes when new.updated_at is null
begin
    update planes set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where tailnum = new.tailnum;
end;
create trigger planes_updated after update on planes when new.updated_at is old.updated_at
begin
    update planes set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where tailnum = new.tailnum;
end;

create trigger weather_inserted after insert on weather when new.updated_at is null
begin
    update weather set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where rowid = new.rowid;
end;
create trigger weather_updated after update on weather when new.updated_at is old.updated_at
begin
    update weather set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where rowid = new.rowid;
end;
