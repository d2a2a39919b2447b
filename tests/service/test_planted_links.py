"""No answer, metric or line of the log shows the secret of a link, wherever it is given."""

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from support.planted import LINKS, SECRET, planted_in
from support.services import Answer, Service, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving("--root", str(tmp_path_factory.mktemp("images")), "--workers", "1") as service:
        yield service


def encoded(link: str, safe: str = "") -> str:
    return quote(link.encode("utf-8", "surrogatepass"), safe=safe)


PLACES: dict[str, Callable[[Service, str], Answer]] = {
    "Path": lambda service, link: service.ask(body={"Path": link, "rlevel": 0}),
    "rlevel": lambda service, link: service.ask(body={"Path": "a.jp2", "rlevel": link}),
    "window": lambda service, link: service.ask(body={"Path": "a.jp2", "window": link}),
    "root": lambda service, link: service.ask(body={"Path": "a.jp2", "root": link}),
    "query": lambda service, link: service.ask(f"/api/jp2?path={encoded(link)}"),
    "unencoded query": lambda service, link: service.ask(f"/api/jp2?path={encoded(link, '/:?=&')}", method="PUT"),
    "route": lambda service, link: service.ask(f"/{encoded(link, '/:?=&')}"),
    "headers": lambda service, link: service.ask(
        body={"Path": "a.jp2"}, headers={"X-Request-Id": encoded(link), "Authorization": f"Bearer {SECRET}"}
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_link_is_shown(service: Service, place: str) -> None:
    shown = {}
    for name, link in LINKS.items():
        answer = PLACES[place](service, link)
        assert answer.status >= 400
        line = service.logged(answer.headers["x-request-id"])
        if found := planted_in(answer.body.decode(errors="replace"), answer.headers, line):
            shown[name] = found
    assert shown == {}
    assert planted_in(service.ask("/metrics").body.decode(), service.lines, service.text) == ""
