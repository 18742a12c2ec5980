select
    id as invoice_id,
    customer as customer_id,
    invoicedate as invoiced_at,
    billingaddress as billing_address,
    billingcity as billing_city,
    billingstate as billing_state,
    billingcountry as billing_country,
    billingpostalcode as billing_postal_code,
    total,
    updated_at
from {{ current('invoices') }}
