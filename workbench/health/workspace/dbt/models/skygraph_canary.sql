select
    id,
    token,
    sent_at
from {{ source('raw', 'skygraph_canary') }} final
