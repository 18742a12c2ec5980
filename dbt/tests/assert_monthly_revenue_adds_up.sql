-- Revenue by month and country is the revenue of the invoices: nothing lost, nothing twice.
with monthly as (
    select
        sum(invoice_count) as invoice_count,
        sum(revenue) as revenue
    from {{ ref('fct_revenue_by_month_country') }}
),

invoices as (
    select
        count() as invoice_count,
        sum(total) as revenue
    from {{ ref('fct_invoices') }}
)

select
    monthly.invoice_count as monthly_invoice_count,
    invoices.invoice_count as invoice_count,
    monthly.revenue as monthly_revenue,
    invoices.revenue as revenue
from monthly
cross join invoices
where monthly.invoice_count <> invoices.invoice_count
   or monthly.revenue <> invoices.revenue
