-- The flights that left New York City in 2013, as one SQLite database: five tables, named as their CSV files, with the
-- CSVs' columns. status is how far a flight is: scheduled, departed, arrived or cancelled (triggers.sql derives it; the
-- CSV has none). updated_at, last in every table, says when the row was last written: 'YYYY-MM-DD HH:MM:SS.SSS', UTC.
-- Foreign keys are declared where every row keeps them. Many flights name a tail number that planes does not have, and
-- some a destination that airports does not have, so these two columns refer to nothing.

create table airlines (
    carrier TEXT not null primary key,
    name TEXT not null,
    updated_at DATETIME
);

create table airports (
    faa TEXT not null primary key,
    name TEXT not null,
    lat REAL not null,
    lon REAL not null,
    alt INTEGER not null,
    tz INTEGER not null,
    dst TEXT not null,
    tzone TEXT,
    updated_at DATETIME
);

create table planes (
    tailnum TEXT not null primary key,
    year INTEGER,
    type TEXT not null,
    manufacturer TEXT not null,
    model TEXT not null,
    engines INTEGER not null,
    seats INTEGER not null,
    speed INTEGER,
    engine TEXT not null,
    updated_at DATETIME
);

-- The local hour does not tell the two hours apart when the clocks go back: the key has the hour in UTC.
create table weather (
    origin TEXT not null references airports (faa) deferrable initially deferred,
    year INTEGER not null,
    month INTEGER not null,
    day INTEGER not null,
    hour INTEGER not null,
    temp REAL,
    dewp REAL,
    humid REAL,
    wind_dir INTEGER,
    wind_speed REAL,
    wind_gust REAL,
    precip REAL not null,
    pressure REAL,
    visib REAL not null,
    time_hour DATETIME not null,
    updated_at DATETIME,
    primary key (origin, time_hour)
);

create table flights (
    year INTEGER not null,
    month INTEGER not null,
    day INTEGER not null,
    dep_time INTEGER,
    sched_dep_time INTEGER not null,
    dep_delay INTEGER,
    arr_time INTEGER,
    sched_arr_time INTEGER not null,
    arr_delay INTEGER,
    carrier TEXT not null references airlines (carrier) deferrable initially deferred,
    flight INTEGER not null,
    tailnum TEXT,
    origin TEXT not null references airports (faa) deferrable initially deferred,
    dest TEXT not null,
    air_time INTEGER,
    distance INTEGER not null,
    hour INTEGER not null,
    minute INTEGER not null,
    time_hour DATETIME not null,
    status TEXT not null default 'scheduled',
    updated_at DATETIME,
    primary key (year, month, day, carrier, flight, origin)
);

-- A sync asks for the rows after a moment: each table can answer that from an index.
create index airlines_updated_at on airlines (updated_at);
create index airports_updated_at on airports (updated_at);
create index flights_updated_at on flights (updated_at);
create index planes_updated_at on planes (updated_at);
create index weather_updated_at on weather (updated_at);

create index flights_carrier on flights (carrier);
create index flights_dest on flights (dest);
create index flights_tailnum on flights (tailnum);
