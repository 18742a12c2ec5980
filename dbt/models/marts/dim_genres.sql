{{ config(order_by='genre_id') }}

with tracks as (
    select
        genre_id,
        count() as track_count
    from {{ ref('stg_tracks') }}
    group by genre_id
)

select
    genres.genre_id as genre_id,
    cast(genres.genre_name as String) as genre_name,
    cast(coalesce(tracks.track_count, 0) as Int64) as track_count
from {{ ref('stg_genres') }} as genres
left join tracks
    on tracks.genre_id = genres.genre_id
