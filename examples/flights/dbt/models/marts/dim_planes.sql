{{ config(order_by='tail_number') }}

with flights as (
    select
        tail_number,
        count() as flight_count,
        sumIf(distance_miles, departure_hhmm is not null) as flown_miles
    from {{ ref('stg_flights') }}
    where tail_number is not null
    group by tail_number
)

select
    planes.tail_number as tail_number,
    planes.built_in as built_in,
    cast(planes.plane_type as String) as plane_type,
    cast(planes.manufacturer as String) as manufacturer,
    cast(planes.model_name as String) as model_name,
    cast(planes.engine_count as Int64) as engine_count,
    cast(planes.seat_count as Int64) as seat_count,
    planes.cruising_speed_mph as cruising_speed_mph,
    cast(planes.engine_type as String) as engine_type,
    cast(coalesce(flights.flight_count, 0) as Int64) as flight_count,
    cast(coalesce(flights.flown_miles, 0) as Int64) as flown_miles
from {{ ref('stg_planes') }} as planes
left join flights
    on flights.tail_number = planes.tail_number
