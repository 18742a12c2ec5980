{{ config(order_by='invoice_id') }}

with lines as (
    select
        invoice_id,
        count() as line_count
    from {{ ref('stg_invoice_lines') }}
    group by invoice_id
)

select
    invoices.invoice_id as invoice_id,
    cast(invoices.customer_id as Int64) as customer_id,
    cast(invoices.invoiced_at as DateTime64(3, 'UTC')) as invoiced_at,
    cast(invoices.billing_address as String) as billing_address,
    cast(invoices.billing_city as String) as billing_city,
    invoices.billing_state as billing_state,
    cast(invoices.billing_country as String) as billing_country,
    invoices.billing_postal_code as billing_postal_code,
    cast(coalesce(lines.line_count, 0) as Int64) as line_count,
    cast(invoices.total as Decimal(10, 2)) as total
from {{ ref('stg_invoices') }} as invoices
left join lines
    on lines.invoice_id = invoices.invoice_id
