"""The ontology: what the data is about, in people's words.

It reads object types and link types from YAML, answers questions about objects with one statement each, and keeps the
last good model when an edit goes wrong. It owns the model, its files and the SQL over dbt models. It does not build
those models, does not write to the lake, and knows nothing of any one data set.
"""

from __future__ import annotations

from workbench.ontology.answers import OntologyList, TypeDetail
from workbench.ontology.live import LINK_TYPES, OBJECT_TYPES, LiveOntology, set_live
from workbench.ontology.load import check_columns, load_ontology
from workbench.ontology.model import LinkType, ObjectType, Ontology, Property
from workbench.ontology.objects import ObjectCard, ObjectSet, Store

__all__ = [
    "LINK_TYPES",
    "OBJECT_TYPES",
    "LinkType",
    "LiveOntology",
    "ObjectCard",
    "ObjectSet",
    "ObjectType",
    "Ontology",
    "OntologyList",
    "Property",
    "Store",
    "TypeDetail",
    "check_columns",
    "load_ontology",
    "set_live",
]
