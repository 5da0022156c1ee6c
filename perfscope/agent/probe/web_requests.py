"""Times the requests that a web server hands to its application: uvicorn (FastAPI, Starlette and
every other ASGI application), aiohttp, gunicorn's workers with one thread or several, and Flask and
Django, under whatever server runs them.

A request arrives when the server hands it to the application, and ends when that returns; with
gunicorn and aiohttp when the answer is written. Nothing of a request or an answer is read but the
status, and whether a part of a streamed answer is sent. Requests that are under way when the probe
enters are not seen. Where one thread serves a request through two of these, such as Flask under
gunicorn, the outer one counts.
"""

import itertools
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

# uvicorn has a class of this name for each implementation of HTTP.
UVICORN = "uvicorn.protocols.http."
UVICORN_MODULES = ("h11_impl", "httptools_impl", "zttp_impl", "zttp_h2_impl")
GUNICORN = "gunicorn.workers."
GUNICORN_WORKERS = (("sync", "SyncWorker"), ("gthread", "ThreadWorker"))
BY_HANDLER = 1
WHOLE = 1
UNKNOWN = -1
FIRST_FAILURE = 500


def install(probe: "InstalledProbe") -> None:
    """Time requests from now on, also of a server that the program imports later."""
    if MODULES["process_state"].in_worker():
        return
    requests = WebRequests(probe)
    requests.tick(0)
    probe.ticks.append(requests.tick)


class OpenRequest:
    """A request that the application works on."""

    __slots__ = ("began_ns", "first_ns", "number", "status", "tid")

    def __init__(self, number: int) -> None:
        self.number, self.tid, self.began_ns = number, get_native_id(), time.monotonic_ns()
        self.first_ns = self.status = UNKNOWN


class WebRequests:
    """The requests of one process."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.numbers = itertools.count()
        self.seen: set[str] = set()
        # By the id of uvicorn's object for a request and its answer, which outlives the entry.
        self.open: dict[int, OpenRequest] = {}
        # By thread, of servers that work on one request per thread.
        self.by_thread: dict[int, OpenRequest] = {}

    def tick(self, now_ns: int) -> None:
        """Patch the servers, which the program may import later."""
        for name in UVICORN_MODULES:
            self.patch(UVICORN + name, "RequestResponseCycle", self.patch_uvicorn)
        for name, class_name in GUNICORN_WORKERS:
            self.patch(GUNICORN + name, class_name, self.patch_gunicorn)
        self.patch("gunicorn.http.wsgi", "Response", self.patch_answer)
        self.patch("aiohttp.web_protocol", "RequestHandler", self.patch_aiohttp)
        self.patch("django.core.handlers.wsgi", "WSGIHandler", self.patch_django)
        self.patch("flask.app", "Flask", self.patch_flask)

    def patch(self, name: str, class_name: str, put: "Callable[[Any], None]") -> None:
        owner = getattr(MODULES["imported_modules"].imported(name), class_name, None)
        if owner is not None and name not in self.seen:
            self.seen.add(name)
            put(owner)

    def patch_uvicorn(self, cycle: Any) -> None:
        """Time `run_asgi`, which is awaited once per request, and watch what it sends."""
        run, send = vars(cycle).get("run_asgi"), vars(cycle).get("send")
        if run is None or send is None:
            return
        self.probe.patches.put(cycle, "send", self.probe.wrap(send, self.sends, do_not_end))
        timed = MODULES["patches"].wrap_coroutine_function(
            self.probe, run, self.begin_cycle, self.end_cycle
        )
        self.probe.patches.put(cycle, "run_asgi", timed)

    def patch_flask(self, application: Any) -> None:
        """Time the function that calls the handlers of a request and makes its answer."""
        self.time_in_thread(application, "full_dispatch_request", self.end_with_answer)

    def patch_django(self, handler: Any) -> None:
        """Time the WSGI application; as an ASGI application its server is timed."""
        self.time_in_thread(handler, "__call__", self.end_with_answer)

    def patch_gunicorn(self, worker: Any) -> None:
        """Time the method that calls the application and writes its answer."""
        self.time_in_thread(worker, "handle_request", self.end_in_thread)

    def patch_answer(self, answer: Any) -> None:
        """Watch the status that a WSGI application reports to gunicorn."""
        original = vars(answer).get("start_response")
        if original is not None:
            watched = self.probe.wrap(original, self.note_status, do_not_end)
            self.probe.patches.put(answer, "start_response", watched)

    def patch_aiohttp(self, protocol: Any) -> None:
        """Time the coroutine that calls the handler of a request and writes its answer."""
        original = vars(protocol).get("_handle_request")
        if original is not None:
            timed = MODULES["patches"].wrap_coroutine_function(
                self.probe, original, self.begin, self.end_aiohttp
            )
            self.probe.patches.put(protocol, "_handle_request", timed)

    def time_in_thread(self, owner: Any, name: str, end: "Callable[..., None]") -> None:
        """Time a method that works on one request from begin to end."""
        original = vars(owner).get(name)
        if original is not None:
            timed = self.probe.wrap(original, self.begin_in_thread, end)
            self.probe.patches.put(owner, name, timed)

    # Records

    def put(self, kind: str, place: "tuple[int, int, int]", values: "tuple[int, ...]") -> None:
        unused = (UNKNOWN,) * (8 - len(values))
        self.probe.records.append((self.probe.kinds[kind], *place, *values, *unused))

    def begin(self, args: Any, kwargs: Any) -> OpenRequest:
        request = OpenRequest(next(self.numbers))
        place = (request.tid, request.began_ns, 0)
        self.put("REQUEST_BEGIN", place, (request.number, BY_HANDLER))
        return request

    def end(self, request: OpenRequest, *, failed: bool) -> None:
        now_ns = time.monotonic_ns()
        first_ns = request.first_ns - request.began_ns if request.first_ns >= 0 else UNKNOWN
        values = (request.number, first_ns, UNKNOWN, int(failed), WHOLE)
        place = (request.tid, request.began_ns, now_ns - request.began_ns)
        self.put("REQUEST", place, (*values, get_native_id(), BY_HANDLER))

    # uvicorn

    def begin_cycle(self, args: Any, kwargs: Any) -> OpenRequest:
        request = self.open[id(args[0])] = self.begin(args, kwargs)
        return request

    def end_cycle(self, request: OpenRequest, args: Any, answer: Any, raised: Any) -> None:
        self.open.pop(id(args[0]), None)
        # uvicorn catches what the application raises, and answers with a status of 500.
        self.end(request, failed=raised is not None or request.status >= FIRST_FAILURE)

    def sends(self, args: Any, kwargs: Any) -> None:
        """Note the status of an answer, or the first part of a streamed one."""
        cycle, message = args[:2]
        if type(message) is not dict:
            return
        request, status = self.open.get(id(cycle)), message.get("status")
        if request is None:
            return
        if message.get("type") == "http.response.start" and type(status) is int:
            request.status = status
        elif request.first_ns < 0 and message.get("more_body") is True:
            request.first_ns = time.monotonic_ns()

    # aiohttp

    def end_aiohttp(self, request: OpenRequest, args: Any, answer: Any, raised: Any) -> None:
        first = answer[0] if type(answer) is tuple and answer else None
        self.end(request, failed=raised is not None or is_failure(first, "_status"))

    # Servers that work on one request per thread

    def begin_in_thread(self, args: Any, kwargs: Any) -> "OpenRequest | None":
        """Begin a request, unless the thread works on one already."""
        thread = get_ident()
        if thread in self.by_thread:
            return None
        request = self.by_thread[thread] = self.begin(args, kwargs)
        return request

    def end_in_thread(self, request: OpenRequest, args: Any, answer: Any, raised: Any) -> None:
        self.by_thread.pop(get_ident(), None)
        self.end(request, failed=raised is not None or request.status >= FIRST_FAILURE)

    def end_with_answer(self, request: OpenRequest, args: Any, answer: Any, raised: Any) -> None:
        """End a request whose answer is an object of Flask or Django."""
        failed = is_failure(answer, "_status_code") or is_failure(answer, "status_code")
        request.status = FIRST_FAILURE if failed else request.status
        self.end_in_thread(request, args, answer, raised)

    def note_status(self, args: Any, kwargs: Any) -> None:
        """Note the status line of the answer that this thread begins."""
        request, line = self.by_thread.get(get_ident()), args[1] if len(args) > 1 else None
        if request is not None and type(line) is str and line[:3].isdigit():
            request.status = int(line[:3])


def is_failure(answer: Any, name: str) -> bool:
    """Return whether the status that an answer, or its class, keeps in this attribute is that of a
    failure.
    """
    status = MODULES["loader"].attribute_of(answer, name)
    owners = () if status is not None else type.mro(type(answer))
    status = next((vars(owner)[name] for owner in owners if name in vars(owner)), status)
    return isinstance(status, int) and status >= FIRST_FAILURE


def do_not_end(*_: Any) -> None:
    """Do nothing after a call of which only the beginning counts."""
