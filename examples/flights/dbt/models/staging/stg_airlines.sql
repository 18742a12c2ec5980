select
    carrier,
    name as airline_name,
    updated_at
from {{ current('airlines') }}
