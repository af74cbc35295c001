# Made of strongroom/_async by `make schema`: change it there.
"""The way of a call: sent, perhaps sent again, its answer or an exception."""

import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from strongroom._answers import error_of, model_of, problem_of
from strongroom._errors import ClientClosed
from strongroom._options import Options
from strongroom._retrying import Course, Repeat, failure_of
from strongroom._sync import waiting
from strongroom._values import encode, tag

M = TypeVar("M", bound=BaseModel)

_JSON = {"Content-Type": "application/json"}


class Transport:
    """Sends calls with one token to one service."""

    def __init__(self, client: httpx.Client, options: Options) -> None:
        self.options = options
        self._client = client

    @property
    def origin(self) -> str:
        """Scheme, host and port of the service, as browsers name them."""
        url = httpx.URL(self.options.url)
        return f"{url.scheme}://{url.netloc.decode()}"

    def get(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        if_none_match: int | str | None = None,
        wait: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Read something."""
        sent = dict(headers or {})
        if if_none_match is not None:
            sent["If-None-Match"] = tag(if_none_match) or ""
        return self.send("GET", path, query, headers=sent, wait=wait)

    def post(
        self,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        if_match: int | str | None = None,
        wait: float | None = None,
        content: bytes | None = None,
        media_type: str = "application/json",
    ) -> httpx.Response:
        """Do something once, however often it has to be sent. `body` is encoded as JSON; None
        sends `content` as it is."""
        sent = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if if_match is not None:
            sent["If-Match"] = tag(if_match) or ""
        if body is not None:
            content = encode(body)
        if content is not None:
            sent["Content-Type"] = media_type
        return self.send("POST", path, query, content=content, headers=sent, wait=wait)

    def ask(
        self, path: str, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """A POST that changes nothing, and is as harmless as a read."""
        content = None if body is None else encode(body)
        return self.send("POST", path, query, content=content, headers=_JSON)

    def change(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        *,
        if_match: int | str | None = None,
        if_none_match: str | None = None,
    ) -> httpx.Response:
        """PUT, PATCH or DELETE."""
        sent = {} if body is None else dict(_JSON)
        if if_match is not None:
            sent["If-Match"] = tag(if_match) or ""
        if if_none_match is not None:
            sent["If-None-Match"] = if_none_match
        is_conditional = if_match not in (None, "*") or if_none_match is not None
        return self.send(
            method,
            path,
            query,
            content=None if body is None else encode(body),
            headers=sent,
            repeat=Repeat.CONDITIONAL if is_conditional else Repeat.DOUBLE,
        )

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeat: Repeat = Repeat.HARMLESS,
        wait: float | None = None,
    ) -> httpx.Response:
        """The answer, which is a success.

        A request that failed is sent again if that can't do anything twice, until the time of the
        call is over. `wait` is how many seconds the service may wait, in addition.
        """
        sent = dict(headers or {})
        seconds = self.options.timeout
        if wait is not None:
            # The header takes whole seconds.
            sent["Prefer"] = f"wait={math.ceil(wait)}"
            seconds = None if seconds is None else seconds + math.ceil(wait)
        course = Course(method, repeat, seconds=seconds, max_retries=self.options.max_retries)
        while True:
            left = course.seconds_left()
            request = self._request(method, path, query, content, sent, left)
            try:
                with waiting.limit(left):
                    response = self._client.send(request, follow_redirects=False)
            except (httpx.RequestError, TimeoutError) as error:
                pause = course.after_failure(error)
            else:
                if response.is_success:
                    return response
                pause = course.after_refusal(response)
            waiting.sleep(pause)

    def once(self, path: str, *, also: int) -> httpx.Response:
        """Read something once. An answer with the status `also` is not an error, unless it is a
        problem."""
        request = self._request("GET", path, None, None, {}, self.options.timeout)
        try:
            with waiting.limit(self.options.timeout):
                response = self._client.send(request, follow_redirects=False)
        except (httpx.RequestError, TimeoutError) as error:
            raise failure_of(error, may_have_happened=False) from error
        is_told = response.status_code == also and problem_of(response) is None
        if not response.is_success and not is_told:
            raise error_of(response)
        return response

    @contextmanager
    def open(
        self,
        path: str,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        read_timeout: float | None,
    ) -> Iterator[httpx.Response]:
        """An answer that is read in parts inside the block. It is a success. Nothing is sent
        again."""
        request = self._request("GET", path, query, None, headers, None)
        timeout = httpx.Timeout(self.options.timeout, read=read_timeout).as_dict()
        request.extensions = {**request.extensions, "timeout": timeout}
        try:
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                if not response.is_success:
                    response.read()
                    raise error_of(response)
                yield response
            finally:
                response.close()
        except httpx.RequestError as error:
            raise failure_of(error, may_have_happened=False) from error

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> httpx.Request:
        if self._client.is_closed:
            raise ClientClosed("this client has been closed: make another one")
        try:
            request = self._client.build_request(
                method,
                self.options.url + path,
                params=query or None,
                content=content,
                headers=headers,
                timeout=seconds,
            )
        except httpx.InvalidURL:
            raise ValueError(
                "what the call asks for does not fit into a URL: it is too long, or has control "
                "characters"
            ) from None
        if "Cookie" in headers:
            # The token would win over a session's cookie.
            request.headers.pop("Authorization", None)
        return request


def parsed(kind: type[M], response: httpx.Response) -> M:
    """The body of an answer as a model."""
    return model_of(kind, response.content, response)
