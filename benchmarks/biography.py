"""What it costs a sync to keep the versions that it replaces, and what they take on the disk.

One table of PostgreSQL is synced into two raw tables, one with its history and one with `history: none`; between two syncs a share of
its rows, scattered over all keys, is updated. The two take turns to be first.

    python benchmarks/biography.py [--rows 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics

from _servers import own_postgres, own_workspace, table_of

_USER = "bench"
_SHARES = (0.0001, 0.001, 0.01, 0.1)


def main() -> None:
    """Measure and print."""
    from workbench.hermes import Hermes
    from workbench.hermes.biography import read_life
    from workbench.hermes.tables import Source, SyncPlan, TableJob
    from workbench.lake import Lake

    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    with own_postgres() as server, own_workspace() as settings, server.connect() as db:
        db.execute(
            "create table orders (id bigint primary key, customer int not null, status text not null, total numeric(12,2) not null, "
            "note text, placed date not null, updated_at timestamptz not null)"
        )
        db.execute(
            "insert into orders select i, i % 9973, 'new', (i::bigint * 7919 %% 1000000) / 100.0, 'a note of order ' || i, "
            "date '2020-01-01' + (i %% 2000)::int, timestamptz '2024-01-01Z' + i * interval '1 second' "
            f"from generate_series(1, {given.rows}) i".replace("%%", "%")
        )
        db.execute("create index on orders (updated_at)")
        db.execute(f"create role {_USER} login superuser password '{_USER}'")
        lake = Lake(settings)
        jobs = {
            name: TableJob(name, "erp", "orders", ("id",), "updated_at", deletes="none", history=history)
            for name, history in (("kept", "30 days"), ("bare", "none"))
        }
        plan = SyncPlan({"erp": Source("erp", "postgres", {"dsn": server.dsn(user=_USER, password=_USER)})}, jobs, {})
        hermes = Hermes(lake, plan, settings.workspace, settings.state_dir, keeps_open=True)
        hermes.sync()
        rows, step = [], 0
        for share in _SHARES:
            took: dict[str, list[tuple[float, float]]] = {"kept": [], "bare": []}
            for round_ in range(given.rounds):
                step += 1
                db.execute(
                    f"update orders set status = 's{step}', updated_at = timestamptz '2025-01-01Z' + {step} * interval '1 day' "
                    f"where (id * 2654435761) % {round(1 / share)} = {round_}"
                )
                for table in ("kept", "bare") if step % 2 else ("bare", "kept"):
                    before = _cpu(lake)
                    (run,) = hermes.sync([table]).runs
                    assert run.inserted, run
                    took[table].append((run.seconds, _cpu(lake) - before))
            middle = {name: [statistics.median(side) for side in zip(*found, strict=True)] for name, found in took.items()}
            rows.append([
                f"{share:.2%}", run.inserted, *(round(middle[t][0] * 1000) for t in ("bare", "kept")),
                f"{middle['kept'][0] / middle['bare'][0]:.2f}", *(round(middle[t][1] * 1000) for t in ("bare", "kept")),
                f"{middle['kept'][1] / middle['bare'][1]:.2f}",
            ])  # fmt: skip
        print(table_of(["changed", "rows", "ms without", "ms with", "ratio", "CPU ms without", "CPU ms with", "ratio"], rows))
        found = lake.rows(
            "select sum(rows) as n, sum(bytes_on_disk) as size from system.parts "
            "where active and database = 'skygraph' and table = 'key_history'"
        )[0]
        print(f"\n{found['n']:,} versions are kept, {found['size'] / max(found['n'], 1):.0f} bytes each on disk")
        life = read_life(lake, "raw.kept", str(lake.scalar("select JSONExtractArrayRaw(any(key))[1] from skygraph.key_history")).strip('"'))
        print(life)
        hermes.close()
        lake.close()


def _cpu(lake: object) -> float:
    """Processor seconds of the lake so far."""
    from workbench.lake import Lake

    assert isinstance(lake, Lake)
    return float(lake.scalar("select sum(value) / 1e6 from system.events where event in ('OSCPUVirtualTimeMicroseconds')"))


if __name__ == "__main__":
    main()
