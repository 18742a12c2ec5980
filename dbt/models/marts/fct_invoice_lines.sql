{{ config(order_by='invoice_line_id') }}

select
    lines.invoice_line_id as invoice_line_id,
    cast(lines.invoice_id as Int64) as invoice_id,
    cast(lines.track_id as Int64) as track_id,
    tracks.track_name as track_name,
    cast(lines.unit_price as Decimal(10, 2)) as unit_price,
    cast(lines.quantity as Int64) as quantity,
    cast(lines.unit_price * lines.quantity as Decimal(18, 2)) as line_total
from {{ ref('stg_invoice_lines') }} as lines
left join {{ ref('stg_tracks') }} as tracks
    on tracks.track_id = lines.track_id
