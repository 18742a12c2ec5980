{{ config(order_by=['customer_id', 'track_id']) }}

-- A track that a customer bought twice is one link with two units.
select
    cast(invoices.customer_id as Int64) as customer_id,
    cast(lines.track_id as Int64) as track_id,
    cast(sum(lines.quantity) as Int64) as units
from {{ ref('stg_invoice_lines') }} as lines
inner join {{ ref('stg_invoices') }} as invoices
    on invoices.invoice_id = lines.invoice_id
group by
    invoices.customer_id,
    lines.track_id
