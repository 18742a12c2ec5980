select
    faa as airport_code,
    name as airport_name,
    lat as latitude,
    lon as longitude,
    alt as altitude_ft,
    tz as utc_offset_h,
    dst as summer_time,
    tzone as time_zone,
    updated_at
from {{ current('airports') }}
