select
    id as genre_id,
    name as genre_name,
    updated_at
from {{ current('genres') }}
