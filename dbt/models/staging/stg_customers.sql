select
    id as customer_id,
    firstname as first_name,
    lastname as last_name,
    company,
    address,
    city,
    state,
    country,
    postalcode as postal_code,
    phone,
    fax,
    email,
    support_rep as support_rep_id,
    updated_at
from {{ current('customers') }}
