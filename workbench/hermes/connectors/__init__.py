"""One module per kind of source; the file's name is what `connector:` says in `tables.yml`."""
