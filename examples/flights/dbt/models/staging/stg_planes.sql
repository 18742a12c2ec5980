select
    tailnum as tail_number,
    year as built_in,
    type as plane_type,
    manufacturer,
    model as model_name,
    engines as engine_count,
    seats as seat_count,
    speed as cruising_speed_mph,
    engine as engine_type,
    updated_at
from {{ current('planes') }}
