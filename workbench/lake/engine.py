"""The engine process of the embedded lake: a real ClickHouse server out of the `chdb-core` wheel.

Run as a script by `server.py`, never imported. It loads the wheel's extension module alone, makes it listen on loopback
over HTTP and native TCP, and serves until its standard input ends (its keeper is gone) or it gets SIGTERM. Only the
standard library is used: the process holds the engine and little else.

The engine signs itself in as `default` with an empty password; that is built in. So `default` is closed to everybody else
by a limit of one session, which the engine's own bootstrap query takes before the ports open. Where the kernel has
Landlock, the engine can open only its own folder, the source folders it was given (read only), and system libraries.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import secrets
import signal
import socket
import struct
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

CONFIG = """<clickhouse>
  <http_port>{http}</http_port>
  <tcp_port>{tcp}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <timezone>UTC</timezone>
  <users_config>{home}/users.xml</users_config>
  <!-- this engine reads log-level, not logger.level -->
  <log-level>information</log-level>
  <logger>
    <log>{home}/log/server.log</log><errorlog>{home}/log/server.err.log</errorlog><size>20M</size><count>3</count>
  </logger>
  <shutdown_wait_unfinished>1</shutdown_wait_unfinished>
  <mark_cache_size>268435456</mark_cache_size>
  <!-- the defaults (2) leave merges waiting and fill the log with warnings -->
  <background_pool_size>4</background_pool_size>
  <background_schedule_pool_size>16</background_schedule_pool_size>
  <background_common_pool_size>4</background_common_pool_size>
  <!-- what BACKUP writes to and RESTORE reads from: see backup.py -->
  <storage_configuration><disks><backups><type>local</type><path>{backups}/</path></backups></disks></storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <query_log>
    <database>system</database><table>query_log</table>
    <engine>ENGINE = MergeTree PARTITION BY toYYYYMM(event_date) ORDER BY (event_date, event_time)
            TTL event_date + INTERVAL 14 DAY</engine>
    <flush_interval_milliseconds>2000</flush_interval_milliseconds>
  </query_log>
</clickhouse>
"""

USERS = """<clickhouse>
  <profiles>
    <!-- python() over HTTP ends the whole process with a segmentation fault: refused for everybody -->
    <default><allow_python_table_function>0</allow_python_table_function></default>
    <bootstrap>
      <max_sessions_for_user>1</max_sessions_for_user>
      <constraints><max_sessions_for_user><readonly/></max_sessions_for_user></constraints>
    </bootstrap>
    <lake>
      <allow_python_table_function>0</allow_python_table_function>
      <constraints><allow_python_table_function><readonly/></allow_python_table_function></constraints>
    </lake>
    <!-- readonly=1, as with 2 a visitor's settings could name files; so what every read needs is set here -->
    <viewer>
      <readonly>1</readonly><final>1</final><session_timezone>UTC</session_timezone>
      <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close>
      <output_format_arrow_string_as_string>1</output_format_arrow_string_as_string>
      <output_format_json_quote_decimals>1</output_format_json_quote_decimals>
      <output_format_json_quote_denormals>1</output_format_json_quote_denormals>
      <output_format_json_quote_64bit_integers>0</output_format_json_quote_64bit_integers>
      <output_format_decimal_trailing_zeros>1</output_format_decimal_trailing_zeros>
      <date_time_output_format>iso</date_time_output_format>
      <allow_python_table_function>0</allow_python_table_function>
      <max_execution_time>20</max_execution_time><max_memory_usage>1000000000</max_memory_usage><max_threads>2</max_threads>
      <max_result_rows>200000</max_result_rows><max_result_bytes>200000000</max_result_bytes>
      <max_concurrent_queries_for_user>32</max_concurrent_queries_for_user>
    </viewer>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password><networks><ip>127.0.0.1</ip></networks><profile>bootstrap</profile><quota>default</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
        <query>GRANT READ ON FILE</query>
      </grants>
    </default>
    <lake>
      <password_sha256_hex>{sha}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>lake</profile><quota>default</quota>
      <access_management>1</access_management>
    </lake>
    <!-- dashboards: what was built and how it came here, never the raw tables -->
    <viewer>
      <password_sha256_hex>{viewer_sha}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>viewer</profile><quota>default</quota>
      <grants>
        <query>GRANT SELECT ON marts.*</query>
        <query>GRANT SELECT ON eidolon.*</query>
        <query>GRANT SELECT ON skygraph.sync_state</query>
        <query>GRANT SELECT ON skygraph.sync_runs</query>
        <query>GRANT SELECT ON skygraph.job_runs</query>
        <query>GRANT SELECT ON skygraph.dbt_runs</query>
        <query>GRANT SELECT ON skygraph.canary</query>
      </grants>
    </viewer>
  </users>
</clickhouse>
"""

# what the engine and Python read outside the lake's folder
SYSTEM_PATHS = (
    "/proc", "/sys", "/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone", "/etc/resolv.conf", "/etc/hosts",
    "/etc/nsswitch.conf", "/etc/ssl", "/usr/lib", "/lib", "/lib64", "/dev/null", "/dev/urandom",
)  # fmt: skip

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
ENGINE_ENDED = signal.SIGUSR1
# what a stop leaves to statements that are running
_FINISH_S = 0.5


def load_engine(library: str) -> Any:
    """The extension module alone: the package around it would open a second engine in this process."""
    flags = sys.getdlopenflags()
    if sys.platform == "linux":
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        loader = importlib.machinery.ExtensionFileLoader("_chdb", library)
        spec = importlib.util.spec_from_file_location("_chdb", library, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    finally:
        sys.setdlopenflags(flags)
    return module


def confine(read: Sequence[str], write: Sequence[str]) -> int:
    """From here on this thread and every later one open only these trees. The Landlock version, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    create, add, restrict = 444, 445, 446  # the same numbers on every architecture
    version: int = libc.syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return 0
    rights = (1 << {1: 13, 2: 14}.get(version, 15 if version < 5 else 16)) - 1
    ruleset: int = libc.syscall(create, ctypes.create_string_buffer(struct.pack("Q", rights), 8), ctypes.c_size_t(8), ctypes.c_uint32(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    execute, write_file, read_file, read_dir, truncate, ioctl = 1, 2, 4, 8, 1 << 14, 1 << 15
    for paths, allowed in ((read, execute | read_file | read_dir), (write, rights)):
        for path in filter(os.path.exists, paths):
            file_rights = (execute | write_file | read_file | truncate | ioctl) & rights
            access = allowed if os.path.isdir(path) else allowed & file_rights
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = ctypes.create_string_buffer(struct.pack("=Qi", access, fd), 12)
            if libc.syscall(add, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)):
                raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
            os.close(fd)
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(restrict, ctypes.c_int(ruleset), ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)
    return version


def write_private(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner only."""
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)


def password_of(home: Path, user: str = "lake", file: str = "credentials.json") -> str:
    """The password of a user: random, made once, in a file of its own (0600) in `home`."""
    path = home / file
    if not path.exists():
        write_private(path, json.dumps({"user": user, "password": secrets.token_urlsafe(24)}))
    return str(json.loads(path.read_text(encoding="utf-8"))["password"])


def keep_system_database(home: Path) -> None:
    """Have the engine keep its `system` database on disk, like a server, so that query_log survives a stop.

    By default it is in memory, and each stop leaves its parts orphaned. The file must be there before the first start;
    a folder once served without it has plain directories in `data/data/system`, on which the start would abort: they
    hold only the engine's own logs and are moved aside.
    """
    stray = home / "data/data/system"
    if stray.is_dir() and any(not entry.is_symlink() for entry in os.scandir(stray)):
        stray.rename(stray.with_name(f"system.aside-{int(time.time())}"))
    metadata = home / "data/metadata"
    if not (metadata / "system.sql").exists():
        ident = str(uuid.uuid4())
        (home / "data/store" / ident[:3] / ident).mkdir(parents=True, exist_ok=True)
        metadata.mkdir(parents=True, exist_ok=True)
        (metadata / "system").unlink(missing_ok=True)
        (metadata / "system").symlink_to(f"../store/{ident[:3]}/{ident}")
        write_private(metadata / "system.sql", f"ATTACH DATABASE _ UUID '{ident}'\nENGINE = Atomic\n")


def hang_up(ports: Sequence[int]) -> None:
    """Close the connections that clients hold open at these ports, most of them idle.

    The engine waits 5 s for them and then ends without writing its logs; left alone, every stop would go that way.
    """
    for name in os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"):
        try:
            copy = os.dup(int(name))
        except OSError:
            continue
        try:
            connection = socket.socket(fileno=copy)
        except OSError:  # a file or a pipe
            os.close(copy)
            continue
        with connection, suppress(OSError, IndexError, TypeError):  # a socket of another family, or one just closed
            if connection.getsockname()[1] in ports and not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                connection.shutdown(socket.SHUT_RDWR)


def say(text: str) -> None:
    """One line for the keeper's log."""
    with suppress(OSError):  # who would have read it may be gone
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} engine: {text}", flush=True)


def serve(home: Path, library: str, *, http: int, tcp: int, read: Sequence[str]) -> int:
    """Serve until told to stop; the exit status: 0 when it was asked to stop, 1 when the engine ended by itself."""
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{home} is already served by another process")
        return 1
    password = password_of(home)
    for folder in ("data", "log", "run"):
        (home / folder).mkdir(exist_ok=True)
    backups = home.parent / "backups"
    backups.mkdir(mode=0o700, exist_ok=True)
    running = home / "run/server.json"
    running.unlink(missing_ok=True)
    sha = hashlib.sha256(password.encode()).hexdigest()
    viewer_sha = hashlib.sha256(password_of(home, "viewer", "viewer.json").encode()).hexdigest()
    write_private(home / "users.xml", USERS.format(sha=sha, viewer_sha=viewer_sha))
    write_private(home / "config.xml", CONFIG.format(http=http, tcp=tcp, home=escape(str(home)), backups=escape(str(backups))))
    keep_system_database(home)
    wait_here, stop_here = os.pipe()

    # Engine threads inherit the mask, so sigwait below is the one that gets the signal. SYSTEM SHUTDOWN signals the whole
    # process group, hence a session of our own.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS | {ENGINE_ENDED})
    os.chdir(home)  # ./config.xml is what the engine reads first
    engine = load_engine(library)
    version = confine(
        [*SYSTEM_PATHS, os.path.dirname(os.__file__), os.path.dirname(library), f"{home}/config.xml", f"{home}/users.xml", *read],
        [f"{home}/data", f"{home}/log", f"{home}/run", str(backups)],
    )
    say(f"confined by Landlock version {version}" if version else "no Landlock here: the engine is not confined")
    bootstrap = (
        "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
        # reads until the pipe is closed: that is the stop. By number: in a path, the engine would take * ? {} for patterns
        f"SELECT * FROM file({wait_here}, LineAsString) FORMAT Null"
    )

    def run_engine() -> None:
        try:
            engine.query(bootstrap, "TSV", path=f"{home}/data")
        except BaseException as error:  # whatever ends the engine ends the process, below
            say(f"{type(error).__name__}: {error}")
        finally:
            os.kill(os.getpid(), ENGINE_ENDED)

    started = time.monotonic()
    thread = threading.Thread(target=run_engine, daemon=True)
    thread.start()

    def announce() -> None:
        sign_in = base64.b64encode(f"lake:{password}".encode()).decode()
        request = urllib.request.Request(f"http://127.0.0.1:{http}/", data=b"SELECT 1", headers={"Authorization": f"Basic {sign_in}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while thread.is_alive():
            try:
                with opener.open(request, timeout=5) as answer:
                    if answer.read() == b"1\n":
                        break
            except OSError:
                pass
            time.sleep(0.02)
        else:
            return
        write_private(running, json.dumps({"pid": os.getpid(), "http": http, "tcp": tcp, "read": list(read)}))
        say(f"ready after {time.monotonic() - started:.2f} s, http {http}, tcp {tcp}")

    def follow_keeper() -> None:
        sys.stdin.buffer.read()  # ends when the keeper is gone, however it went
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=announce, daemon=True).start()
    threading.Thread(target=follow_keeper, daemon=True).start()

    asked = signal.sigwait(STOP_SIGNALS | {ENGINE_ENDED}) != ENGINE_ENDED
    deadline = time.monotonic() + 60
    os.close(stop_here)
    thread.join(_FINISH_S)
    while thread.is_alive() and time.monotonic() < deadline:
        hang_up((http, tcp))
        thread.join(0.1)
    if asked:  # otherwise the file stays for the keeper, as the sign that this engine had been serving
        running.unlink(missing_ok=True)
    say("stopped" if asked else "the engine ended by itself; see server.err.log beside this file")
    return 0 if asked and not thread.is_alive() else 1


def main() -> None:
    """Parse the arguments and serve; ends the process without running the engine's destructors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--library", required=True)
    parser.add_argument("--http", required=True, type=int)
    parser.add_argument("--tcp", required=True, type=int)
    parser.add_argument("--read", action="append", default=[])
    options = parser.parse_args()
    status = serve(options.home, options.library, http=options.http, tcp=options.tcp, read=options.read)
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
