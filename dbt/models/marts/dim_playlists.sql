{{ config(order_by='playlist_id') }}

with entries as (
    select
        playlist_id,
        count(distinct track_id) as track_count
    from {{ ref('stg_playlist_tracks') }}
    group by playlist_id
)

select
    playlists.playlist_id as playlist_id,
    cast(playlists.playlist_name as String) as playlist_name,
    cast(coalesce(entries.track_count, 0) as Int64) as track_count
from {{ ref('stg_playlists') }} as playlists
left join entries
    on entries.playlist_id = playlists.playlist_id
