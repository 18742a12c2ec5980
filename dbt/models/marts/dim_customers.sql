{{ config(order_by='customer_id') }}

with sales as (
    select
        customer_id,
        count() as invoice_count,
        sum(total) as total_spent,
        max(invoiced_at) as last_invoiced_at
    from {{ ref('stg_invoices') }}
    group by customer_id
)

select
    customers.customer_id as customer_id,
    cast(customers.first_name as String) as first_name,
    cast(customers.last_name as String) as last_name,
    cast(concat(customers.first_name, ' ', customers.last_name) as String) as full_name,
    customers.company as company,
    cast(customers.address as String) as address,
    cast(customers.city as String) as city,
    customers.state as state,
    cast(customers.country as String) as country,
    customers.postal_code as postal_code,
    customers.phone as phone,
    customers.fax as fax,
    cast(customers.email as String) as email,
    cast(customers.support_rep_id as Int64) as support_rep_id,
    cast(coalesce(sales.invoice_count, 0) as Int64) as invoice_count,
    cast(coalesce(sales.total_spent, 0) as Decimal(18, 2)) as total_spent,
    sales.last_invoiced_at as last_invoiced_at
from {{ ref('stg_customers') }} as customers
left join sales
    on sales.customer_id = customers.customer_id
