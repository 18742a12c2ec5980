"""HTTP as the `rest` connector speaks it: sign-in, patience, and secrets that go to one server alone."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import json
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urljoin, urlsplit, urlunsplit
from urllib.parse import quote as quote_url

from workbench.errors import SourceError, SourceUnavailable, UnknownName, UsageError
from workbench.hermes.connectors._rest_values import parse_json
from workbench.hermes.watermark import parse_duration

if TYPE_CHECKING:
    import httpx

    from workbench.hermes.connectors.rest import Options

_REDIRECTS = 5
_SECRET_NAME = re.compile(r"token|secret|passw|api_?-?key|apikey|auth|signature|credential|session|^(key|sig|code)$", re.IGNORECASE)


@dataclass(frozen=True)
class Backoff:
    """How long to wait after a failed request. Pure: whoever asks has the clock."""

    retries: int = 8
    within_s: float = 300.0
    first_s: float = 1.0
    most_s: float = 30.0

    def pause_s(self, failures: int, *, elapsed_s: float, asked_s: float | None = None, chance: float = 1.0) -> float | None:
        """Seconds to wait after so many failures in a row, None to give up. `asked_s` is what the server asked for.

        >>> [Backoff(retries=3).pause_s(n, elapsed_s=0) for n in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, None]
        >>> Backoff().pause_s(1, elapsed_s=10, asked_s=60), Backoff().pause_s(1, elapsed_s=10, asked_s=3600)
        (60, None)
        """
        if failures > self.retries:
            return None
        own = min(self.most_s, self.first_s * 2.0 ** (failures - 1)) * (0.5 + 0.5 * chance)
        pause = asked_s if asked_s is not None and asked_s >= 1 else own
        return pause if elapsed_s + pause <= self.within_s else None


def retry_after_s(value: str, *, now: dt.datetime) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or a date as seen from `now`; None when it is neither.

    >>> retry_after_s("120", now=dt.datetime.now(dt.timezone.utc))
    120.0
    >>> retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", now=dt.datetime(2015, 10, 21, 7, 27, tzinfo=dt.timezone.utc))
    60.0
    """
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value)
    when = _http_date(value)
    return None if when is None else max(0.0, (when - now).total_seconds())


def _http_date(value: str) -> dt.datetime | None:
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Answer:
    """The JSON of an answer, its headers, and the addresses of its Link headers by relation."""

    body: Any
    headers: Mapping[str, str]
    links: Mapping[Any, Mapping[str, str]]


class Http:
    """GET with sign-in, patience, and without a word of a secret to anybody but the server of `url`."""

    def __init__(self, options: Options, *, wait: Callable[[float], object] | None, clock: Callable[[], float]) -> None:
        self.stopped = threading.Event()
        self._wait, self._clock = wait or self.stopped.wait, clock
        self._answered = False
        self._client: httpx.Client | None = None
        parts = urlsplit(options.url.strip())
        try:
            well_formed = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:
            well_formed = False
        if parts.username is not None or parts.password is not None:
            raise SourceError("the url of a rest source has a user in it", hint="give `user:` and `password:`, the password as ${NAME}")
        if not well_formed or parts.query or parts.fragment:
            raise SourceError(
                "the url of a rest source is not the address of a server",
                hint="write https://host/path; query parameters go under `params:`",
            )
        self.url = urlunsplit(parts).rstrip("/")
        self.where = f"rest {self.url}"
        for name in ("headers", "params"):
            if not isinstance(getattr(options, name), Mapping):
                raise SourceError(f"{self.where}: `{name}:` is not a mapping", hint=f"write it as `{name}: {{name: value}}`")
        self.headers = {"Accept": "application/json", "User-Agent": "skygraph", **{k: str(v) for k, v in options.headers.items()}}
        self.params = {k: str(v) for k, v in options.params.items()}
        given = [bool(options.token), bool(options.user or options.password), any(k.lower() == "authorization" for k in options.headers)]
        if sum(given) > 1:
            raise SourceError(f"{self.where} has two kinds of sign-in", hint="keep one of `token:`, `user:` with `password:`, `headers:`")
        self._secrets = [options.token, options.password, *self.headers.values()]
        if options.token:
            self.headers["Authorization"] = f"Bearer {options.token}"
        elif options.user or options.password:
            basic = base64.b64encode(f"{options.user}:{options.password}".encode()).decode()
            self._secrets.append(basic)
            self.headers["Authorization"] = f"Basic {basic}"
        for name, value in self.headers.items():
            if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not re.fullmatch(r"[\x20-\x7e\t]*", value):
                raise SourceError(
                    f"{self.where}: the header {name!r} has a character that HTTP does not allow there",
                    hint="check the value in the environment: a line end at its end?",
                )
        self._secrets += self.params.values()
        self._secrets = [s for s in self._secrets if len(s) >= 4 and s not in ("application/json", "skygraph")]
        try:
            self.timeout_s = _seconds(options.timeout)
            self.backoff = Backoff(int(options.retries), _seconds(options.give_up_after))
            self.most_bytes = int(options.max_page_mb) * 2**20
        except (ValueError, UsageError) as error:
            raise SourceError(
                f"{self.where}: a number is expected: {error}", hint="check timeout, retries, give_up_after and max_page_mb"
            ) from None

    def hide(self, text: str) -> str:
        """A text without the secrets of this source."""
        for secret in self._secrets:
            for form in (secret, quote_plus(secret), quote_url(secret, safe="")):
                text = text.replace(form, "***")
        return text

    def address(self, path: str, params: Mapping[str, str]) -> str:
        """The address of a path below `url`, with parameters."""
        if re.match(r"[a-z]+://", path, re.IGNORECASE):
            self.require_same_host(path, "`path:`")
            whole = path
        else:
            whole = f"{self.url}/{path.lstrip('/')}"
        parts = urlsplit(whole)
        own = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in params]
        return self.with_params(urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*own, *params.items()]), "")))

    def with_params(self, url: str) -> str:
        """An address with the parameters of every request, those left out that it has."""
        parts = urlsplit(url)
        has = {k for k, _ in parse_qsl(parts.query, keep_blank_values=True)}
        more = urlencode([(k, v) for k, v in self.params.items() if k not in has])
        return urlunsplit((*parts[:3], "&".join(q for q in (parts.query, more) if q), ""))

    def require_same_host(self, url: str, says: str) -> None:
        """Refuse to go to another server, which would get the credentials of this one."""
        if _origin(url) != _origin(self.url):
            scheme, host, port = _origin(url)
            raise SourceError(
                f"{self.where}: {says} leads to another server, {scheme}://{host}:{port}",
                hint="credentials are sent to the server of `url:` alone; if that is the one you mean, set it there",
            )

    def ask(self, url: str, *, first: bool) -> Answer:
        """The JSON of an address, tried again while that may help.

        Raises:
            UnknownName: 404, for the `first` page. SourceUnavailable: no answer, or no sign-in. SourceError: another answer.
        """
        began, failures = self._clock(), 0
        while True:
            if self.stopped.is_set():
                raise SourceUnavailable(f"{self.where}: interrupted", hint="run it again: it goes on from where it was")
            failed, asked_s = self._try(url, first, began + self.backoff.within_s)
            if isinstance(failed, Answer):
                self._answered = True
                return failed
            failures += 1
            elapsed = self._clock() - began
            pause = self.backoff.pause_s(failures, elapsed_s=elapsed, asked_s=asked_s, chance=random.random())
            if pause is None:
                asks = f" and asks to wait {asked_s:,.0f} s" if asked_s else ""
                raise SourceUnavailable(
                    f"{failed.message}{asks}; given up after {failures} tries in {elapsed:,.0f} s",
                    hint=failed.hint or "try later; `retries:` and `give_up_after:` say for how long it is tried",
                )
            self._wait(pause)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # one try: the answer, or the failure that may pass and how long the server wants us to wait

    def _try(self, url: str, first: bool, deadline: float) -> tuple[Answer | SourceUnavailable, float | None]:
        import httpx

        at = url
        try:
            for _ in range(_REDIRECTS + 1):
                with self._opened().stream("GET", at) as response:
                    if response.status_code in (301, 302, 303, 307, 308) and (to := response.headers.get("location")):
                        at = urljoin(at, to)
                        self.require_same_host(at, f"{shown_url(url, self)} redirects, and")
                        continue
                    body = self._read(response, url, deadline)
                    return self._judge(response, body, url, first)
            raise SourceError(f"{shown_url(url, self)} redirects more than {_REDIRECTS} times", hint="check `url:` and `path:`")
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SourceError(f"{self.where}: {self.hide(str(error))}", hint="check `url:` and `path:`") from None
        except httpx.HTTPError as error:
            return self._lost(error), None

    def _opened(self) -> httpx.Client:
        if self._client is None:
            import logging

            import httpx

            # it logs every address, with its parameters
            logging.getLogger("httpx").setLevel(logging.WARNING)
            self._client = httpx.Client(headers=self.headers, timeout=self.timeout_s, follow_redirects=False)
        return self._client

    def _read(self, response: httpx.Response, url: str, deadline: float) -> bytes:
        read = bytearray()
        for chunk in response.iter_bytes():
            read += chunk
            if len(read) > self.most_bytes:
                raise SourceError(
                    f"the answer of {shown_url(url, self)} is larger than {self.most_bytes // 2**20} MB",
                    hint="ask for smaller pages (`size_param:` and `page_size:`), or raise `max_page_mb:` of the source",
                )
            if self.stopped.is_set() or self._clock() > deadline:
                break
        else:
            return bytes(read)
        what = "interrupted" if self.stopped.is_set() else f"not done after {self.backoff.within_s:,.0f} s"
        raise SourceUnavailable(f"the answer of {shown_url(url, self)}: {what}", hint="run it again, or ask for smaller pages")

    def _judge(self, response: httpx.Response, body: bytes, url: str, first: bool) -> tuple[Answer | SourceUnavailable, float | None]:
        status, shown = response.status_code, shown_url(url, self)
        said = f"{status} {response.reason_phrase}".strip()
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        excerpt = self.hide(" ".join(body[:2000].decode("utf-8", "replace").split()))[:200]
        if status in (401, 403, 407):
            raise SourceUnavailable(
                f"{shown} refused the sign-in ({said})", hint="check `token:`, `user:` and `password:`, or `headers:`, and what it may read"
            )
        if status in (408, 425, 429) or (status >= 500 and status not in (501, 505)):
            date = _http_date(response.headers.get("date", "")) or dt.datetime.now(dt.timezone.utc)
            asked = retry_after_s(response.headers.get("retry-after", ""), now=date)
            return SourceUnavailable(f"{shown} answers {said}"), asked
        if status == 404 and first:
            path = urlsplit(url).path
            raise UnknownName(f"path of {self.where}", path, [], hint="the server answers 404; check `from:` or `path:` of the table")
        if status != 200:
            raise SourceError(f"{shown} answers {said}: {excerpt}", hint="check `path:` and `params:` of the table")
        if kind in ("text/html", "application/xhtml+xml") or body[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            title = re.search(rb"<title[^>]*>([^<]*)", body[:20000], re.IGNORECASE)
            name = f" ({self.hide(' '.join(title[1].decode('utf-8', 'replace').split()))[:80]!r})" if title else ""
            raise SourceError(f"{shown} answers with a web page{name}, not with JSON", hint="check `url:`; it may be a page to sign in")
        try:
            parsed = parse_json(body, response.charset_encoding)
        except json.JSONDecodeError as error:
            if error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
                return SourceUnavailable(f"the JSON of {shown} is cut off after {len(body):,} bytes"), None
            raise SourceError(
                f"{shown} does not answer with JSON ({error.msg} at character {error.pos:,}): {excerpt}", hint="check `url:` and `path:`"
            ) from None
        except (ValueError, LookupError):
            raise SourceError(f"{shown} answers with bytes that are no text: {kind or 'no content type'}") from None
        except RecursionError:
            raise SourceError(f"the JSON of {shown} is nested too deep") from None
        return Answer(parsed, response.headers, response.links), None

    def _lost(self, error: httpx.HTTPError) -> SourceUnavailable:
        """A request that got no answer, in our words; raised at once when the server never answered: the address may be wrong."""
        import httpx

        said = self.hide(" ".join(str(error).split()))[:300]
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise SourceUnavailable(
                f"{self.where}: its certificate is not trusted: {said}", hint="SSL_CERT_FILE can name a file with the certificate to trust"
            ) from None
        if "SSL" in said or "TLS" in said:
            lost = SourceUnavailable(f"{self.where}: no TLS: {said}", hint="does the server speak https there? check scheme and port")
        elif isinstance(error, httpx.ConnectError) and re.search(r"Name or service|name resolution|getaddrinfo|nodename|No address", said):
            lost = SourceUnavailable(f"{self.where}: the host name is not known", hint="check `url:` and the network")
        elif isinstance(error, httpx.ConnectError) and "refused" in said:
            lost = SourceUnavailable(f"{self.where} refused the connection", hint="is the server up, and the port right?")
        elif isinstance(error, httpx.TimeoutException):
            return SourceUnavailable(f"{self.where} does not answer within {self.timeout_s:g} s")
        elif isinstance(error, httpx.ConnectError):
            lost = SourceUnavailable(f"{self.where} cannot be reached: {said}", hint="check `url:` and the network")
        else:
            return SourceUnavailable(f"{self.where} broke off its answer: {said}")
        if not self._answered:
            raise lost from None
        return lost


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    try:
        port = parts.port
    except ValueError:
        port = -1
    return scheme, (parts.hostname or "").lower(), port or (443 if scheme == "https" else 80)


def shown_url(url: str, http: Http) -> str:
    """An address for people: the values of parameters that are secrets, or are named like one, are masked."""
    parts = urlsplit(url)
    query = [(k, "***" if k in http.params or _SECRET_NAME.search(k) else v) for k, v in parse_qsl(parts.query, keep_blank_values=True)]
    return http.hide(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(query, safe="*/:,"), "")))


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else parse_duration(text)
