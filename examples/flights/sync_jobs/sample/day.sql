-- One day at the records desk, Wednesday 2014-01-01, run once and inside one transaction. Times are UTC.
-- Scripted: every row and every updated_at is written out, so the day is the same each time it is run.
-- Two of the corrections are worked out from clock times that the data has; the rest of the day is made up.

-- 13:10  Two flights of JetBlue have the time of their arrival and no delay: it is worked out from the two clock times.
--        B6 403, JFK to San Juan: 16:55 for 14:30.
update flights
set arr_delay = 145, updated_at = '2014-01-01 13:10:20.000'
where year = 2013 and month = 12 and day = 30 and carrier = 'B6' and flight = 403 and origin = 'JFK';
--        B6 1205, JFK to Portland: 02:53 for 23:55.
update flights
set arr_delay = 178, updated_at = '2014-01-01 13:11:05.000'
where year = 2013 and month = 12 and day = 31 and carrier = 'B6' and flight = 1205 and origin = 'JFK';

-- 13:30  UA 376, Newark to Los Angeles: it came to the gate at 23:09 and not at 23:05, 19 minutes late and not 15.
update flights
set arr_time = 2309, arr_delay = 19, updated_at = '2014-01-01 13:30:00.000'
where year = 2013 and month = 12 and day = 31 and carrier = 'UA' and flight = 376 and origin = 'EWR';

-- 14:05  9E 2914, JFK to Washington, was recorded as flown: it was cancelled.
update flights
set dep_time = null, dep_delay = null, arr_time = null, arr_delay = null, air_time = null, status = 'cancelled',
    updated_at = '2014-01-01 14:05:42.500'
where year = 2013 and month = 12 and day = 31 and carrier = '9E' and flight = 2914 and origin = 'JFK';

-- 15:00  A plane is added to the register: N3ALAA, whose 63 flights of the year had none. Year of building not known.
insert into planes (tailnum, year, type, manufacturer, model, engines, seats, speed, engine, updated_at)
values
    ('N3ALAA', null, 'Fixed wing multi engine', 'BOEING', '737-823', 2, 149, null, 'Turbo-fan',
     '2014-01-01 15:00:00.000');

-- 15:20  An airport that no flight uses leaves the register: the Wall Street Heliport. One row is deleted.
delete from airports
where faa = 'JRB'
  and not exists (select 1 from flights where origin = 'JRB' or dest = 'JRB');

-- LATE   B6 923, JFK to Los Angeles, landed at 08:44 and is written only now, with the time of its landing. Its
--        updated_at lies behind the newest one of the first sync (08:50:00), but within the ten minutes that a sync
--        reads again.
insert into flights
    (year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight,
     tailnum, origin, dest, air_time, distance, hour, minute, time_hour, status, updated_at)
values
    (2013, 12, 31, 2129, 2130, -1, 44, 55, -11, 'B6', 923,
     'N506JB', 'JFK', 'LAX', 355, 2475, 21, 30, '2014-01-01 02:00:00.000', 'arrived', '2014-01-01 08:44:00.000');
