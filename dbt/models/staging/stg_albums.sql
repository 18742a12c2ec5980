select
    id as album_id,
    title as album_title,
    artist as artist_id,
    updated_at
from {{ current('albums') }}
