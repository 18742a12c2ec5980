{{ config(order_by='flight_id') }}

select
    flight_id,
    flight_on,
    carrier,
    cast(flight_number as Int64) as flight_number,
    tail_number,
    origin,
    cast(destination as String) as destination,
    concat(origin, '-', assumeNotNull(destination)) as route,
    cast(scheduled_hour as DateTime64(3, 'UTC')) as scheduled_hour,
    cast(scheduled_at as DateTime64(3, 'UTC')) as scheduled_at,
    cast(scheduled_at + toIntervalMinute(departure_delay_min) as Nullable(DateTime64(3, 'UTC'))) as departed_at,
    departure_delay_min,
    arrival_delay_min,
    air_time_min,
    cast(distance_miles as Int64) as distance_miles,
    cast(status as String) as status
from {{ ref('stg_flights') }}
