-- A flight has the weather of its airport and hour. Two gaps are known, 1,556 flights together: the observations end on
-- 2013-12-30, and flights after the last one are not counted here; before it, 624 flights fall into hours that nobody
-- observed. Returns the flights of the second gap; more of them than that is an error.
{{ config(warn_if='>624', error_if='>624') }}

select
    flight_id,
    origin,
    scheduled_hour
from {{ ref('fct_flights') }}
where scheduled_hour <= (select max(observed_at) from {{ ref('fct_weather') }})
  and (origin, scheduled_hour) not in (
    select
        airport_code,
        observed_at
    from {{ ref('fct_weather') }}
)
