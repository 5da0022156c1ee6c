"""Times the requests that a web server hands to its application: uvicorn (FastAPI, Starlette and
every other ASGI application) and Flask, under whatever server runs it.

A request arrives when uvicorn hands it to the application, and ends when that returns. Nothing of a
request or an answer is read but the status, and whether a part of a streamed answer is sent.
Requests that are under way when the probe enters are not seen.
"""

import itertools
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

# uvicorn has a class of this name for each implementation of HTTP.
UVICORN = "uvicorn.protocols.http."
UVICORN_MODULES = ("h11_impl", "httptools_impl", "zttp_impl", "zttp_h2_impl")
BY_HANDLER = 1
WHOLE = 1
UNKNOWN = -1
FIRST_FAILURE = 500


def install(probe: "InstalledProbe") -> None:
    """Time requests from now on, also of a server that the program imports later."""
    if MODULES["presence"].in_worker():
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

    def tick(self, now_ns: int) -> None:
        """Patch the servers, which the program may import later."""
        for name in UVICORN_MODULES:
            self.patch(UVICORN + name, "RequestResponseCycle", self.patch_uvicorn)
        self.patch("flask.app", "Flask", self.patch_flask)

    def patch(self, name: str, class_name: str, put: "Callable[[Any], None]") -> None:
        owner = getattr(MODULES["imports"].imported(name), class_name, None)
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
        original = vars(application).get("full_dispatch_request")
        if original is not None:
            timed = self.probe.wrap(original, self.begin, self.end_dispatch)
            self.probe.patches.put(application, "full_dispatch_request", timed)

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

    # Flask

    def end_dispatch(self, request: OpenRequest, args: Any, answer: Any, raised: Any) -> None:
        status = MODULES["loader"].attribute_of(answer, "_status_code")
        is_failure = type(status) is int and status >= FIRST_FAILURE
        self.end(request, failed=raised is not None or is_failure)


def do_not_end(*_: Any) -> None:
    """Do nothing after a call of which only the beginning counts."""
