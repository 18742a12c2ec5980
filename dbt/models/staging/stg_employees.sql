select
    id as employee_id,
    firstname as first_name,
    lastname as last_name,
    title as job_title,
    reports_to as reports_to_id,
    toDate32(birthdate) as born_on,
    toDate32(hiredate) as hired_on,
    address,
    city,
    state,
    country,
    postalcode as postal_code,
    phone,
    fax,
    email,
    updated_at
from {{ current('employees') }}
