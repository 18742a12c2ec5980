{{ config(order_by=['playlist_id', 'track_id']) }}

-- A pair that a playlist lists twice is one link.
select distinct
    cast(playlist_id as Int64) as playlist_id,
    cast(track_id as Int64) as track_id
from {{ ref('stg_playlist_tracks') }}
