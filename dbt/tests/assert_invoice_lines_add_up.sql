-- The lines of an invoice add up to its total. Fails for each invoice where they do not; a missing invoice or
-- missing lines count as 0.
with amounts as (
    select
        invoice_id,
        total as invoice_total,
        cast(0 as Decimal(18, 2)) as line_total
    from {{ ref('fct_invoices') }}

    union all

    select
        invoice_id,
        cast(0 as Decimal(18, 2)) as invoice_total,
        line_total
    from {{ ref('fct_invoice_lines') }}
)

select
    invoice_id,
    sum(invoice_total) as total,
    sum(line_total) as lines_total
from amounts
group by invoice_id
having total <> lines_total
