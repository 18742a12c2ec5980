select
    id as artist_id,
    name as artist_name,
    updated_at
from {{ current('artists') }}
