# One image for skygraph-api, skygraph-sync and skygraph-ui. compose.yaml runs them and mounts the trees over those that are copied here.
# What is installed stands in pyproject.toml, and at which version in constraints.txt.
FROM python:3.11-slim

# the user who owns the mounted trees on the host
ARG UID=1000
RUN useradd --uid "$UID" --create-home skygraph && install -d -o skygraph -g skygraph /skygraph /skygraph/.skygraph /skygraph/.cache
WORKDIR /skygraph

# the libraries first: they are installed again when these files change, and not with every edit of the code
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir workbench && touch workbench/__init__.py && pip install --no-cache-dir -c constraints.txt -e .

COPY --chown=skygraph workbench workbench
COPY --chown=skygraph sync_jobs sync_jobs
COPY --chown=skygraph dbt dbt
COPY --chown=skygraph ontology ontology
COPY --chown=skygraph notebooks notebooks

USER skygraph
# the code is mounted read-only: what Python compiles of it goes elsewhere
ENV PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=/skygraph/.cache
CMD ["skygraph", "--help"]
