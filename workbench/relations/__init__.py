"""Relations: statements of SQL as values, to look at, to page through, to name in the next statement, to write to files.

It owns the reading of a statement's text, the binding of Python's values, and the answers that are kept on the server while somebody
pages through them. It writes nothing else, and knows nothing of notebooks or browsers.
"""

from __future__ import annotations

from workbench.relations.kept import Kept, Shelf
from workbench.relations.pages import Pages
from workbench.relations.relation import Relation, define

__all__ = ["Kept", "Pages", "Relation", "Shelf", "define"]
