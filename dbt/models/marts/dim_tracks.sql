{{ config(order_by='track_id') }}

with sales as (
    select
        track_id,
        sum(quantity) as units_sold,
        sum(unit_price * quantity) as revenue
    from {{ ref('stg_invoice_lines') }}
    group by track_id
)

select
    tracks.track_id as track_id,
    cast(tracks.track_name as String) as track_name,
    cast(tracks.album_id as Int64) as album_id,
    cast(tracks.media_type_id as Int64) as media_type_id,
    cast(tracks.genre_id as Int64) as genre_id,
    tracks.composer as composer,
    cast(tracks.milliseconds as Int64) as milliseconds,
    cast(tracks.bytes as Int64) as bytes,
    cast(tracks.unit_price as Decimal(10, 2)) as unit_price,
    cast(coalesce(sales.units_sold, 0) as Int64) as units_sold,
    cast(coalesce(sales.revenue, 0) as Decimal(18, 2)) as revenue
from {{ ref('stg_tracks') }} as tracks
left join sales
    on sales.track_id = tracks.track_id
