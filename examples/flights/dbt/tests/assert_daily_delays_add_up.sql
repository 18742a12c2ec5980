-- The flights by day and airline are the flights: nothing lost, nothing twice.
with daily as (
    select
        sum(flight_count) as flight_count,
        sum(cancelled_count) as cancelled_count,
        sum(departure_delay_min) as departure_delay_min,
        sum(arrival_delay_min) as arrival_delay_min,
        sum(distance_miles) as distance_miles
    from {{ ref('fct_delays_by_day_carrier') }}
),

flights as (
    select
        count() as flight_count,
        countIf(status = 'cancelled') as cancelled_count,
        sum(departure_delay_min) as departure_delay_min,
        sum(arrival_delay_min) as arrival_delay_min,
        sum(distance_miles) as distance_miles
    from {{ ref('fct_flights') }}
)

select
    daily.flight_count as daily_flight_count,
    flights.flight_count as flight_count,
    daily.distance_miles as daily_distance_miles,
    flights.distance_miles as distance_miles
from daily
cross join flights
where daily.flight_count <> flights.flight_count
   or daily.cancelled_count <> flights.cancelled_count
   or daily.departure_delay_min <> flights.departure_delay_min
   or daily.arrival_delay_min <> flights.arrival_delay_min
   or daily.distance_miles <> flights.distance_miles
