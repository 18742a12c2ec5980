{{ config(order_by='airport_code') }}

with departures as (
    select
        origin,
        count() as departure_count,
        countIf(departure_delay_min is not null) as departed_count,
        countIf(status = 'cancelled') as cancelled_count,
        avg(departure_delay_min) as mean_departure_delay_min
    from {{ ref('stg_flights') }}
    group by origin
),

arrivals as (
    select
        destination,
        count() as arrival_count
    from {{ ref('stg_flights') }}
    group by destination
)

select
    airports.airport_code as airport_code,
    cast(airports.airport_name as String) as airport_name,
    cast(airports.latitude as Float64) as latitude,
    cast(airports.longitude as Float64) as longitude,
    cast(airports.altitude_ft as Int64) as altitude_ft,
    cast(airports.utc_offset_h as Int64) as utc_offset_h,
    cast(airports.summer_time as String) as summer_time,
    airports.time_zone as time_zone,
    cast(coalesce(departures.departure_count, 0) as Int64) as departure_count,
    cast(coalesce(departures.departed_count, 0) as Int64) as departed_count,
    cast(coalesce(departures.cancelled_count, 0) as Int64) as cancelled_count,
    departures.mean_departure_delay_min as mean_departure_delay_min,
    cast(coalesce(arrivals.arrival_count, 0) as Int64) as arrival_count
from {{ ref('stg_airports') }} as airports
left join departures
    on departures.origin = airports.airport_code
left join arrivals
    on arrivals.destination = airports.airport_code
