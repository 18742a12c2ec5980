select
    id as playlist_id,
    name as playlist_name,
    updated_at
from {{ current('playlists') }}
