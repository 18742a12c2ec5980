{{ config(order_by='employee_id') }}

with customers as (
    select
        support_rep_id,
        count() as customer_count
    from {{ ref('stg_customers') }}
    group by support_rep_id
)

select
    employees.employee_id as employee_id,
    cast(employees.first_name as String) as first_name,
    cast(employees.last_name as String) as last_name,
    cast(concat(employees.first_name, ' ', employees.last_name) as String) as full_name,
    cast(employees.job_title as String) as job_title,
    employees.reports_to_id as reports_to_id,
    cast(employees.born_on as Date32) as born_on,
    cast(employees.hired_on as Date32) as hired_on,
    cast(employees.address as String) as address,
    cast(employees.city as String) as city,
    employees.state as state,
    cast(employees.country as String) as country,
    employees.postal_code as postal_code,
    employees.phone as phone,
    employees.fax as fax,
    cast(employees.email as String) as email,
    cast(coalesce(customers.customer_count, 0) as Int64) as customer_count
from {{ ref('stg_employees') }} as employees
left join customers
    on customers.support_rep_id = employees.employee_id
