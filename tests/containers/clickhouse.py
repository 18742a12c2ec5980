"""A ClickHouse server with the files that compose.yaml mounts into the stock image: the engine, as `python clickhouse.py FOLDER`.

`users.d/` has the owner as the image's entry point makes it of `CLICKHOUSE_USER` and `CLICKHOUSE_PASSWORD`, and our file; `config.d/` has
ours. `HTTP` and `TCP` in the environment are its ports. It serves until its standard input ends.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
from pathlib import Path
from xml.sax.saxutils import escape

from workbench.lake import engine

REPOSITORY = Path(__file__).resolve().parents[2]

# what the entry point of the image writes
OWNER = """<clickhouse><users><{user}>
  <profile>default</profile><networks><ip>::/0</ip></networks><password>{password}</password>
  <quota>default</quota><access_management>0</access_management>
</{user}></users></clickhouse>"""


def main(home: Path) -> None:
    """Serve."""
    for folder in ("data", "log", "run", "users.d", "config.d", "backups"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    config = engine.CONFIG.format(http=os.environ["HTTP"], tcp=os.environ["TCP"], home=escape(str(home)), backups="")
    (home / "config.xml").write_text(re.sub(r"  <(storage_configuration|backups)>.*</\1>\n", "", config), encoding="utf-8")
    disk = (REPOSITORY / "containers/clickhouse-config.xml").read_text(encoding="utf-8")
    (home / "config.d/skygraph.xml").write_text(disk.replace("/backups/", f"{home}/backups/"), encoding="utf-8")
    users = engine.USERS.format(sha="0" * 64, viewer_sha="0" * 64)
    # the engine's own viewer and its profile would hide what is missing in ours
    (home / "users.xml").write_text(re.sub(r"    <viewer>.*?</viewer>\n", "", users, flags=re.DOTALL), encoding="utf-8")
    (home / "users.d/skygraph.xml").write_bytes((REPOSITORY / "containers/clickhouse-users.xml").read_bytes())
    owner = OWNER.format(user=os.environ["CLICKHOUSE_USER"], password=os.environ["CLICKHOUSE_PASSWORD"])
    (home / "users.d/default-user.xml").write_text(owner, encoding="utf-8")
    engine.keep_system_database(home)
    os.chdir(home)
    found = importlib.util.find_spec("chdb")
    assert found is not None
    assert found.origin is not None
    loaded = engine.load_engine(str(Path(found.origin).with_name("_chdb.abi3.so")))
    wait_here, _ = os.pipe()
    bootstrap = f"SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; SELECT * FROM file({wait_here}, LineAsString) FORMAT Null"
    threading.Thread(target=loaded.query, args=(bootstrap, "TSV"), kwargs={"path": f"{home}/data"}, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
