select
    id as track_id,
    name as track_name,
    album as album_id,
    mediatype as media_type_id,
    genre as genre_id,
    composer,
    milliseconds,
    bytes,
    unit_price,
    updated_at
from {{ current('tracks') }}
