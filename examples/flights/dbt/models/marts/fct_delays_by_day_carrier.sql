{{ config(order_by=['flight_on', 'carrier']) }}

select
    flight_on,
    carrier,
    cast(count() as Int64) as flight_count,
    cast(countIf(status = 'cancelled') as Int64) as cancelled_count,
    cast(countIf(flights.arrival_delay_min >= 15) as Int64) as late_count,
    cast(coalesce(sum(flights.departure_delay_min), 0) as Int64) as departure_delay_min,
    cast(coalesce(sum(flights.arrival_delay_min), 0) as Int64) as arrival_delay_min,
    cast(sum(flights.distance_miles) as Int64) as distance_miles
from {{ ref('fct_flights') }} as flights
group by
    flight_on,
    carrier
