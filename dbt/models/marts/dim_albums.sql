{{ config(order_by='album_id') }}

with tracks as (
    select
        album_id,
        count() as track_count,
        sum(milliseconds) as milliseconds
    from {{ ref('stg_tracks') }}
    group by album_id
)

select
    albums.album_id as album_id,
    cast(albums.album_title as String) as album_title,
    cast(albums.artist_id as Int64) as artist_id,
    cast(coalesce(tracks.track_count, 0) as Int64) as track_count,
    cast(coalesce(tracks.milliseconds, 0) as Int64) as milliseconds
from {{ ref('stg_albums') }} as albums
left join tracks
    on tracks.album_id = albums.album_id
