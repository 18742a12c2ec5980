select
    id as invoice_line_id,
    invoice as invoice_id,
    track as track_id,
    unit_price,
    quantity,
    updated_at
from {{ current('invoice_lines') }}
