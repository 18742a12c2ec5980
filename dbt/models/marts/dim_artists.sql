{{ config(order_by='artist_id') }}

with albums as (
    select
        artist_id,
        count() as album_count
    from {{ ref('stg_albums') }}
    group by artist_id
),

tracks as (
    select
        albums.artist_id as artist_id,
        count() as track_count
    from {{ ref('stg_tracks') }} as tracks
    inner join {{ ref('stg_albums') }} as albums
        on albums.album_id = tracks.album_id
    group by albums.artist_id
)

select
    artists.artist_id as artist_id,
    cast(artists.artist_name as String) as artist_name,
    cast(coalesce(albums.album_count, 0) as Int64) as album_count,
    cast(coalesce(tracks.track_count, 0) as Int64) as track_count
from {{ ref('stg_artists') }} as artists
left join albums
    on albums.artist_id = artists.artist_id
left join tracks
    on tracks.artist_id = artists.artist_id
