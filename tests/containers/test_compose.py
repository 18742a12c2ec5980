"""compose.yaml, the Dockerfile and what is mounted are right by their own rules, and say what the rest of the repository says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.containers.stack import COMPOSE, REPOSITORY, SECRETS, interpolated
from workbench.lake.engine import USERS
from workbench.services.programs import programs_of
from workbench.settings import Settings

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def problems(compose: dict[str, Any]) -> list[str]:
    """What the schema of the compose specification says against it."""
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(compose)]


def test_the_file_is_one_of_the_compose_specification() -> None:
    assert not problems(COMPOSE)
    wrong = deepcopy(COMPOSE)
    wrong["services"]["skygraph-api"]["health_check"] = {}
    assert problems(wrong)


def client() -> list[str]:
    """The compose client of this machine."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0:
            return words
    pytest.skip("no compose client here: neither `docker compose` nor docker-compose")


def config(environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, with nothing in the environment but this, and nothing in a file either."""
    (folder / "empty.env").touch()
    words = [*client(), "--env-file", str(folder / "empty.env"), "-f", str(REPOSITORY / "compose.yaml"), "config"]
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(words, cwd=folder, env={**path, **environ}, capture_output=True, text=True, check=False, timeout=120)


def test_a_client_takes_the_file(tmp_path: Path) -> None:
    done = config(SECRETS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"http://skygraph:{SECRETS['SKYGRAPH_LAKE_PASSWORD']}@clickhouse:8123" in done.stdout


def test_a_client_says_which_secret_is_missing(tmp_path: Path) -> None:
    done = config({k: v for k, v in SECRETS.items() if k != "SKYGRAPH_LAB_TOKEN"}, tmp_path)
    assert done.returncode != 0
    assert "SKYGRAPH_LAB_TOKEN" in done.stderr


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default_or_a_value_in_the_file(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        interpolated({k: v for k, v in SECRETS.items() if k != name})


def test_the_services_are_those_of_up(tmp_path: Path) -> None:
    programs = programs_of(Settings.load(tmp_path, environ={}))
    assert list(COMPOSE["services"]) == list(dict.fromkeys(p.service for p in programs))
    assert {s["hostname"] for s in COMPOSE["services"].values()} == set(COMPOSE["services"])  # by which they find each other


def test_ports_are_those_of_the_settings_and_open_to_this_machine_alone(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, environ={})
    published = [port for service in interpolated(SECRETS)["services"].values() for port in service.get("ports", [])]
    wanted = (settings.lake_http_port, settings.api_port, settings.lab_port, settings.dashboards_port)
    assert published == [f"127.0.0.1:{port}:{port}" for port in wanted]
    inside = {k: v for s in COMPOSE["services"].values() for k, v in s["environment"].items() if k.endswith("_PORT")}
    assert inside == {
        "SKYGRAPH_API_PORT": str(settings.api_port), "SKYGRAPH_LAB_PORT": str(settings.lab_port),
        "SKYGRAPH_DASHBOARDS_PORT": str(settings.dashboards_port),
    }  # fmt: skip


def test_everything_in_the_environment_is_a_setting() -> None:
    known = {f.metadata["env"] for f in Settings.__dataclass_fields__.values() if f.metadata}
    named = {name for s in list(COMPOSE["services"].values())[1:] for name in s["environment"]}
    assert named <= known


def test_start_order_waits_for_health() -> None:
    services = COMPOSE["services"]
    assert {name: list(s.get("depends_on", {})) for name, s in services.items()} == {
        "clickhouse": [], "skygraph-api": ["clickhouse"], "skygraph-sync": ["clickhouse", "skygraph-api"],
        "skygraph-ui": ["clickhouse", "skygraph-api"],
    }  # fmt: skip
    conditions = {d["condition"] for s in services.values() for d in s.get("depends_on", {}).values()}
    assert conditions == {"service_healthy"}
    assert all(s["healthcheck"]["test"] and s["restart"] == "unless-stopped" for s in services.values())


def test_a_container_is_given_the_time_that_its_programs_may_take_to_end(tmp_path: Path) -> None:
    given = {name: int(s["stop_grace_period"].removesuffix("s")) for name, s in COMPOSE["services"].items()}
    for name in ("skygraph-sync", "skygraph-ui"):
        assert given[name] > sum(p.stop_s for p in programs_of(Settings.load(tmp_path, environ={})) if p.service == name)


def test_the_image_has_the_python_and_the_requirements_of_the_project() -> None:
    (python,) = re.findall(r"^FROM python:(\d+\.\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert python == PROJECT["tool"]["mypy"]["python_version"]
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(python)
    installs = re.findall(r"pip install (.*)$", DOCKERFILE, re.MULTILINE)
    assert installs == ["--no-cache-dir -c constraints.txt -e ."]  # what is installed is named in pyproject.toml alone


def test_the_server_is_of_the_version_that_is_embedded() -> None:
    pins = {r.name: str(r.specifier) for r in map(Requirement, PROJECT["project"]["dependencies"])}
    version = pins["chdb-core"].removeprefix("==").rpartition(".")[0]
    assert interpolated(SECRETS)["services"]["clickhouse"]["image"] == f"clickhouse/clickhouse-server:{version}"


def test_what_is_copied_and_mounted_is_there() -> None:
    (home,) = re.findall(r"^WORKDIR (.*)$", DOCKERFILE, re.MULTILINE)
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split() if "--" not in word]
    let_in = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert set(copied) == let_in
    assert all((REPOSITORY / name).exists() for name in copied)
    for service in interpolated(SECRETS)["services"].values():
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                assert (REPOSITORY / source).exists()
            if "build" in service:
                assert target.startswith(f"{home}/")
                assert source in (f"./{target.removeprefix(f'{home}/')}", "state")


def test_the_viewer_of_the_server_is_that_of_the_embedded_lake() -> None:
    def parts(text: str) -> tuple[dict[str, str | None], list[str | None]]:
        tree = ET.fromstring(text)
        profile = {e.tag: e.text for e in tree.find("profiles/viewer") or ()}
        return profile, [e.text for e in tree.findall("users/viewer/grants/query")]

    profile, grants = parts(USERS.format(sha="", viewer_sha=""))
    del profile["allow_python_table_function"]  # a stock server has none
    assert parts((REPOSITORY / "containers/clickhouse-users.xml").read_text(encoding="utf-8")) == (profile, grants)
