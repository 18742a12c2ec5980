select
    id as media_type_id,
    name as media_type_name,
    updated_at
from {{ current('media_types') }}
