"""The process that serves dashboards: voila with everything shut that a reader does not need.

A reader gets pages and their widgets' messages. There is no file, no listing, no source, no traceback, no code to run, and the kernels
behind the pages know the lake only as a user who may look. Each dashboard has one kernel ready, that has run its cells before anybody
asks; what a page shows is read when it is opened.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import jinja2
from jupyter_server.auth import passwd
from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from traitlets.config import Config
from voila.app import Voila
from voila.request_info_handler import RequestInfoSocketHandler
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.tornado.handler import TornadoVoilaHandler

from workbench.dashboards import Dashboard, find_dashboards
from workbench.errors import SkyGraphError, UsageError
from workbench.log import logger, write_logs
from workbench.ports import choose_port, is_loopback, shown_host
from workbench.presence import hold, write_facts
from workbench.settings import Settings

__all__ = ["serve"]

_SHARE = Path(__file__).with_name("share")
_TEMPLATE = "skygraph"

_MOST_KERNELS = 24  # about 90 MB each; a reader beyond that is asked to come back
_IDLE_S = 60  # a kernel whose page has been gone so long ends; one whose page was closed as usual ended with it
_LOOK_S = 15
_READY = 6  # dashboards that have a kernel ready, the first of the list; the others' start when somebody comes

# a page runs its own scripts, and those of its widgets from memory; it loads from here and nowhere else
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

# of voila's addresses, those that a page uses; the others are not served at all
_OPEN = ("/api/kernels/", "/voila/templates/", "/voila/static/", "/voila/api/themes/", "/voila/labextensions/")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then end the kernels too.

    Raises:
        Busy: the dashboards of this workspace are served already.
        SkyGraphError: the port that was asked for is taken.
        UsageError: it would listen beyond loopback without a password.
    """
    beyond = not is_loopback(settings.dashboards_host)
    if beyond and not settings.dashboards_password:
        said = f"dashboards on {settings.dashboards_host} would be open to the network"
        raise UsageError(said, hint="set SKYGRAPH_DASHBOARDS_PASSWORD in the environment")
    state = settings.make_state_dir()
    write_logs(state / "log", "dashboards.log", is_service=True)
    home = state / "dashboards"
    with hold(home, "the dashboards of this workspace"):
        folder = settings.workspace / "notebooks/dashboards"
        folder.mkdir(parents=True, exist_ok=True)
        connections = home / "kernels"
        shutil.rmtree(connections, ignore_errors=True)  # of a process that was killed
        connections.mkdir(mode=0o700)
        app = _App(config=_config(settings, folder, connections))
        app.settings_of_ours = settings
        app.initialize([])
        app.start()


def _config(settings: Settings, folder: Path, connections: Path) -> Config:
    config = Config()
    config.Voila.root_dir = str(folder)
    config.Voila.config_file_paths = []
    config.Voila.connection_dir_root = str(connections)
    config.Voila.ip = settings.dashboards_host
    config.Voila.log_level = logging.WARNING
    config.Voila.tornado_settings = {"headers": _HEADERS}
    if settings.dashboards_password:
        config.PasswordIdentityProvider.hashed_password = passwd(settings.dashboards_password)
        config.PasswordIdentityProvider.allow_password_change = False
        config.PasswordIdentityProvider.password_required = True
    ours = config.VoilaConfiguration
    ours.template = _TEMPLATE
    ours.theme = "light"
    ours.strip_sources = True
    ours.show_tracebacks = False
    ours.file_allowlist = []
    ours.allow_template_override = "NO"
    ours.allow_theme_override = "NO"
    ours.preheat_kernel = True
    ours.default_pool_size = 0
    ours.http_keep_alive_timeout = 5
    ours.extension_allowlist = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget"]
    ours.page_config_hook = _page_config(settings.workspace)
    config.VoilaKernelManager.cull_idle_timeout = _IDLE_S
    config.VoilaKernelManager.cull_interval = _LOOK_S
    config.VoilaKernelManager.cull_busy = True  # one that hangs is busy for ever
    ready = {one.path.name: {"pool_size": 1} for one in find_dashboards(settings.workspace)[:_READY]}
    config.VoilaKernelManager.kernel_pools_config = {"default": {"pool_size": 0, "kernel_env_variables": {}}, **ready}
    config.VoilaKernelManager.fill_delay = 3.0  # the page that took the ready kernel comes first
    return config


def _page_config(workspace: Path) -> Any:
    """What the template of a page knows beside its notebook."""

    def hook(page_config: dict[str, Any], **rest: Any) -> dict[str, Any]:
        name = Path(str(rest.get("notebook_path") or "")).stem
        boards = find_dashboards(workspace)
        shown = [{"name": b.name, "title": b.title, "here": b.name == name} for b in boards]
        title = next((b.title for b in boards if b.name == name), name)
        return {**page_config, "skygraph": {"workspace": workspace.name, "dashboards": shown, "title": title}}

    return hook


class _App(Voila):  # type: ignore[misc]
    """voila on one socket of ours, with fewer addresses."""

    settings_of_ours: Settings

    def init_settings(self) -> dict[str, Any]:
        ours = self.settings_of_ours
        settings: dict[str, Any] = super().init_settings()
        named = [name.strip().lower() for name in ours.dashboards_names.split(",") if name.strip()]
        # a page that rebinds its own name to 127.0.0.1 is refused; beyond loopback there is a password, which it does not have
        settings["allow_remote_access"] = not is_loopback(ours.dashboards_host)
        settings["local_hostnames"] = ["localhost", *named]
        own = jinja2.FileSystemLoader(str(_SHARE / "voila/templates" / _TEMPLATE))
        settings["jinja2_env"].loader = jinja2.ChoiceLoader([own, settings["jinja2_env"].loader])
        settings["default_handler_class"] = _NoSuchPage
        settings["skygraph"] = self
        return settings

    def init_handlers(self) -> list[Any]:
        kept = [
            # of the template only its files, by their names
            (r"/voila/templates/(skygraph/static/[\w.-]+)", *handler[1:]) if str(handler[0]).startswith("/voila/templates/") else handler
            for handler in super().init_handlers()
            if any(str(handler[0]).startswith(address) for address in _OPEN) or str(handler[0]) in ("/login", "/logout")
        ]  # fmt: skip
        page = {"template_paths": self.template_paths, "config": self.config, "voila_configuration": self.voila_configuration}
        return [
            *kept,
            ("/", _Index),
            (r"/voila/render/([\w-]+)\.ipynb", _Moved),
            ("/health", _Alive),
            (r"/voila/api/shutdown/(.*)", _Shutdown),
            (r"/([\w-]+)", _Page, page),
        ]

    def listen(self) -> None:
        """Listen on the port of the settings or the next free one, tell where, and serve."""
        ours = self.settings_of_ours
        listening, note = _listen(ours)
        server = HTTPServer(self.app, max_header_size=32 * 1024, max_body_size=1 << 20)
        server.add_socket(listening)
        self.port = listening.getsockname()[1]
        self.ioloop = IOLoop.current()
        self.pages = {one.name: one.path.stat().st_mtime_ns for one in find_dashboards(ours.workspace)}
        url = f"http://{shown_host(ours.dashboards_host)}:{self.port}"
        write_facts(ours.state_dir / "dashboards", url=url, port=self.port, note=note)
        logger().info("dashboards started", port=self.port, dashboards=list(self.pages), password=bool(ours.dashboards_password))
        try:
            self.ioloop.start()
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()
            self.stop()
            logger().info("dashboards ended")

    async def follow(self, board: Dashboard) -> None:
        """Have the ready kernel of a dashboard run its notebook as it is now: one that ran an older one ends."""
        manager, name = self.kernel_manager, board.path.name
        written = board.path.stat().st_mtime_ns
        if self.pages.get(board.name) != written:
            self.pages[board.name] = written
            for waiting in manager._pools.pop(name, []):
                try:
                    ready = await waiting
                    await manager.shutdown_kernel(ready["kernel_id"], now=True)
                except Exception as error:  # it never came up: nothing to end
                    logger().warning("a ready kernel could not be ended", dashboard=board.name, error=repr(error))
        ready = dict(manager.kernel_pools_config)
        if name not in ready and len(ready) <= _READY:  # a new one
            manager.kernel_pools_config = {**ready, name: {"pool_size": 1}}
        if manager.get_pool_size(name) == 0 and len(manager) < _MOST_KERNELS - 4:
            manager.fill_if_needed(delay=1.0, notebook_name=name)


class _Own(JupyterHandler):  # type: ignore[misc]
    """A page of ours around the dashboards."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        usual = {404: "There is no such page.", 403: "This is not for you."}.get(status_code, "It failed.")
        said = (getattr(error, "log_message", None) if status_code == 503 else None) or usual
        self.set_header("Content-Type", "text/html; charset=utf-8")
        if status_code == 503:
            self.set_header("Refresh", "10")
        self.finish(self.page("message.html", title=str(said), status=status_code))

    def page(self, template: str, **names: Any) -> str:
        app: _App = self.settings["skygraph"]
        env: jinja2.Environment = self.settings["jinja2_env"]
        boards = find_dashboards(app.settings_of_ours.workspace)
        workspace = app.settings_of_ours.workspace.name
        password = bool(app.settings_of_ours.dashboards_password)
        return env.get_template(template).render(boards=boards, workspace=workspace, password=password, **names)


class _Index(_Own):
    """All dashboards, by title."""

    @web.authenticated
    def get(self) -> None:
        self.finish(self.page("index.html", title="Dashboards"))


class _NoSuchPage(_Own):
    """Everything that is not served."""

    @web.authenticated
    def get(self, *_: str) -> None:
        raise web.HTTPError(404)

    def prepare(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.method != "GET":
            raise web.HTTPError(404)
        return super().prepare(*args, **kwargs)


class _Moved(_Own):
    """voila's own address of a dashboard."""

    @web.authenticated
    def get(self, name: str) -> None:
        self.redirect(f"/{name}" + (f"?{self.request.query}" if self.request.query else ""))


class _Shutdown(VoilaShutdownKernelHandler):  # type: ignore[misc]
    """A page that is closed ends its kernel. Its browser says that it comes from here; a page sends no other proof while it closes."""

    def check_xsrf_cookie(self) -> None:
        if self.request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise web.HTTPError(403)


class _Alive(web.RequestHandler):
    """Says that it serves, to whoever watches this process."""

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"ok": True}))


class _Page(TornadoVoilaHandler):  # type: ignore[misc]
    """A dashboard."""

    write_error = _Own.write_error
    page = _Own.page

    @web.authenticated
    async def get(self, path: str | None = None) -> None:
        app: _App = self.settings["skygraph"]
        board = next((one for one in find_dashboards(app.settings_of_ours.workspace) if one.name == path), None)
        if board is None:
            raise web.HTTPError(404)
        if len(app.kernel_manager) >= _MOST_KERNELS:
            raise web.HTTPError(503, "Too many people look at dashboards just now; this page tries again by itself.")
        await app.follow(board)
        await super().get(board.path.name)
        RequestInfoSocketHandler._cache.clear()  # what voila keeps of each request for notebooks that ask; here none can


def _listen(settings: Settings) -> tuple[socket.socket, str]:
    """A socket that listens, and a note when its port is not the default one."""
    host = settings.dashboards_host.strip("[]")
    for _ in range(5):
        port, note = choose_port(settings, "dashboards_port", "the dashboard server")
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
            listening.setblocking(False)
            return listening, note
        except OSError as error:
            listening.close()
            last = error
    said = f"the dashboards cannot listen on {host}: {last.strerror}"
    raise SkyGraphError(said, hint="see the settings dashboards_host and dashboards_port")
