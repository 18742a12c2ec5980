select
    id as playlist_track_id,
    playlist as playlist_id,
    track as track_id,
    updated_at
from {{ current('playlist_tracks') }}
