"""How much of a source a sweep reads: ten million whole-number keys in PostgreSQL, a hundred of them deleted.

Every byte that the source sends passes a counting relay. Beside the sweep: the same table synced with nothing deleted, with
`deletes: none`, and what listing all keys costs.

    python benchmarks/sweep.py [--keys 10000000] [--deletions 100]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _servers import own_postgres, own_workspace, table_of

_USER = "bench"


class Relay:
    """A relay on loopback to a server of PostgreSQL; counts what the server sends: bytes and, by message, rows."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.bytes = self.rows = 0
        self.counts_rows = True
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, *, counts_rows: bool = True) -> None:
        """Count from nothing again. Counting rows slows many rows down."""
        self.bytes = self.rows = 0
        self.counts_rows = counts_rows

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := client.recv(1 << 16):
                server.sendall(block)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        kept, begun = b"", False
        with contextlib.suppress(OSError):
            while block := server.recv(1 << 18):
                client.sendall(block)
                self.bytes += len(block)
                if self.counts_rows:
                    kept, begun = self._count(kept + block, begun)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)

    def _count(self, data: bytes, begun: bool) -> tuple[bytes, bool]:
        """Count the messages that carry a row (of a result, of a COPY); what is left of the last one, and whether any came."""
        at, end = 0, len(data)
        while at < end:
            if not begun and data[at : at + 1] == b"N":  # the answer to a request for encryption is one byte
                at += 1
                continue
            if end - at < 5:
                break
            size = 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if end - at < size:
                break
            begun = True
            self.rows += data[at : at + 1] in (b"D", b"d")
            at += size
        return data[at:], begun


@contextlib.contextmanager
def _timed(relay: Relay, rows: list[list[Any]], what: str, *, counts_rows: bool = True, known: int = 0) -> Iterator[dict[str, Any]]:
    """Time a step and count what the source sends for it; the step may tell more by the dict."""
    relay.reset(counts_rows=counts_rows)
    said: dict[str, Any] = {}
    started = time.perf_counter()
    yield said
    seconds = time.perf_counter() - started
    sent = relay.rows if counts_rows else known
    told = [said.get(k, "") for k in ("ranges", "differing", "listed", "deleted")]
    row = [what, f"{seconds:.2f}", f"{sent:,}", f"{relay.bytes:,}", *told]
    rows.append(row)
    print("  ".join(map(str, row)), flush=True)


def main() -> None:
    """Print what each way read, and how much less than all keys of both sides that is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--deletions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from workbench.hermes.sync import Hermes
    from workbench.hermes.tables import Source, SyncPlan, TableJob
    from workbench.lake import Lake

    keys, chance = options.keys, random.Random(options.seed)
    rows: list[list[Any]] = []
    with own_postgres() as server, own_workspace() as settings:
        lake, relay = Lake(settings), Relay(server.port)
        with server.connect() as db:
            db.execute(f"create role {_USER} login superuser password '{_USER}'")
            db.execute("create table item (id bigint primary key, amount integer not null, note text, updated_at timestamptz not null)")
            db.execute(
                f"insert into item select n, n % 1000, 'item ' || n, timestamptz '2024-01-01 00:00:00+00' + n * interval '1 second' "
                f"from generate_series(1, {keys}) as n"
            )
            db.execute("create index on item (updated_at)")
            db.execute("vacuum analyze item")
        dsn = server.dsn(user=_USER, password=_USER, port=relay.port)
        plan = SyncPlan(
            {"shop": Source("shop", "postgres", {"dsn": dsn})},
            {
                "item": TableJob("item", "shop", "item", ("id",), "updated_at"),
                "item_none": TableJob("item_none", "shop", "item", ("id",), "updated_at", deletes="none"),
            },
            {},
        )
        workspace = Path(settings.workspace)
        hermes = Hermes(lake, plan, workspace, settings.state_dir, keeps_open=True)

        def sync(table: str, said: dict[str, Any]) -> None:
            (run,) = hermes.sync([table]).runs
            if run.error:
                raise SystemExit(run.error)
            said |= {"ranges": run.ranges, "differing": run.ranges_differing, "listed": run.keys_listed, "deleted": run.deleted}

        def touch() -> None:
            """One row changed, so that the source cannot say that nothing did."""
            with server.connect() as db:
                db.execute("update item set updated_at = now() where id = 1")

        for table in ("item", "item_none"):
            with _timed(relay, rows, f"first load of {table}", counts_rows=False, known=keys) as said:
                sync(table, said)
        touch()
        with _timed(relay, rows, "sync of a changed row, deletes: none") as said:
            sync("item_none", said)
        with _timed(relay, rows, "sync of a changed row, sweep, nothing deleted") as said:
            sync("item", said)
        scattered = chance.sample(range(1, keys + 1), options.deletions)
        with server.connect() as db:
            db.execute("delete from item where id = any(%s)", (scattered,))
        with _timed(relay, rows, f"sweep, {options.deletions} scattered deletions") as said:
            sync("item", said)
        swept = rows[-1]
        first = keys // 2
        with server.connect() as db:
            db.execute(f"delete from item where id between {first} and {first + options.deletions - 1}")
        with _timed(relay, rows, f"sweep, {options.deletions} deletions side by side") as said:
            sync("item", said)
        lake.create_database("listing")
        lake.command("create table listing.keys (id Int64) engine = MergeTree order by id")
        with _timed(relay, rows, "listing all keys (engine), and finding those gone", counts_rows=False, known=keys) as said:
            source = f"postgresql('127.0.0.1:{relay.port}', 'postgres', query('select id from item'), '{_USER}', '{_USER}')"
            lake.command(f"insert into listing.keys select assumeNotNull(id) from {source}")
            said["deleted"] = lake.scalar("select count() from raw.item final where id not in (select id from listing.keys)")
        equal = not hermes.compare(["item"]).failed
        hermes.close()
        lake.close()
        relay.close()
    print()
    print(table_of(["", "seconds", "rows sent", "bytes sent", "ranges", "differing", "listed", "deleted"], rows))
    sent = int(str(swept[2]).replace(",", ""))
    print(
        f"\nthe source sent {sent:,} rows for the sweep; all keys twice are {2 * keys:,}: {sent / (2 * keys):.3%}\n"
        f"current rows {'equal' if equal else 'DIFFER FROM'} the source"
    )


if __name__ == "__main__":
    main()
