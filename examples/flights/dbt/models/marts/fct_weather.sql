{{ config(order_by='weather_id') }}

select
    concat(airport_code, '-', formatDateTime(observed_at, '%Y-%m-%dT%HZ')) as weather_id,
    airport_code,
    cast(observed_at as DateTime64(3, 'UTC')) as observed_at,
    temperature_f,
    dew_point_f,
    humidity_pct,
    wind_direction_deg,
    wind_speed_mph,
    wind_gust_mph,
    cast(precipitation_in as Float64) as precipitation_in,
    pressure_mb,
    cast(visibility_miles as Float64) as visibility_miles
from {{ ref('stg_weather') }}
