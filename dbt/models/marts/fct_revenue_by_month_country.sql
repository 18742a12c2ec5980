{{ config(order_by=['invoice_month', 'billing_country']) }}

select
    toStartOfMonth(invoiced_at) as invoice_month,
    billing_country,
    cast(count() as Int64) as invoice_count,
    cast(sum(total) as Decimal(18, 2)) as revenue
from {{ ref('fct_invoices') }}
group by
    invoice_month,
    billing_country
