{#- The current rows of a raw table: one row per key, the newest version, deleted keys left out.
    Raw tables keep every version that was synced until the engine merges them; read them through this macro only. -#}
{% macro current(table) -%}
    {{ source('raw', table) }} final
{%- endmacro %}
