{{ config(order_by='media_type_id') }}

with tracks as (
    select
        media_type_id,
        count() as track_count
    from {{ ref('stg_tracks') }}
    group by media_type_id
)

select
    media_types.media_type_id as media_type_id,
    cast(media_types.media_type_name as String) as media_type_name,
    cast(coalesce(tracks.track_count, 0) as Int64) as track_count
from {{ ref('stg_media_types') }} as media_types
left join tracks
    on tracks.media_type_id = media_types.media_type_id
