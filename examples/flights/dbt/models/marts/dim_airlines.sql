{{ config(order_by='carrier') }}

with flights as (
    select
        carrier,
        count() as flight_count,
        countIf(status = 'cancelled') as cancelled_count,
        avg(departure_delay_min) as mean_departure_delay_min
    from {{ ref('stg_flights') }}
    group by carrier
)

select
    airlines.carrier as carrier,
    cast(airlines.airline_name as String) as airline_name,
    cast(coalesce(flights.flight_count, 0) as Int64) as flight_count,
    cast(coalesce(flights.cancelled_count, 0) as Int64) as cancelled_count,
    flights.mean_departure_delay_min as mean_departure_delay_min
from {{ ref('stg_airlines') }} as airlines
left join flights
    on flights.carrier = airlines.carrier
