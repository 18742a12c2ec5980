{{ config(order_by=['carrier', 'airport_code']) }}

-- Both ends of a flight count; the destinations that are not in the register of airports are left out.
with ends as (
    select
        carrier,
        origin as airport_code
    from {{ ref('stg_flights') }}

    union all

    select
        carrier,
        destination as airport_code
    from {{ ref('stg_flights') }}
)

select
    ends.carrier as carrier,
    ends.airport_code as airport_code,
    cast(count() as Int64) as flight_count
from ends
inner join {{ ref('stg_airports') }} as airports
    on airports.airport_code = ends.airport_code
group by
    ends.carrier,
    ends.airport_code
