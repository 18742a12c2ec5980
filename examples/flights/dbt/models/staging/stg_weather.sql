select
    origin as airport_code,
    time_hour as observed_at,
    temp as temperature_f,
    dewp as dew_point_f,
    humid as humidity_pct,
    wind_dir as wind_direction_deg,
    wind_speed as wind_speed_mph,
    wind_gust as wind_gust_mph,
    precip as precipitation_in,
    pressure as pressure_mb,
    visib as visibility_miles,
    updated_at
from {{ current('weather') }}
