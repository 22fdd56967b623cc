"""The page's words and the server's doors: nothing from a file becomes markup, and only the right address opens."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="slstt-app needs gradio: pip install 'slstt[app]'")

import httpx

from slstt.app.page import links, problem, report_frame
from slstt.app.server import PAGE_POLICY, Guard, address, made_files
from slstt.app.visits import Shown, Visits
from slstt.cli.app import main
from slstt.config.preprocess import PredictConfig
from slstt.errors import DataError
from slstt.prediction.classify import find_classifier
from slstt.prediction.results import PredictionResult
from slstt.prediction.run import Predictor

KEY = "k" * 32


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(tmp_path / "root", Predictor(find_classifier("default"), PredictConfig(), video=True))


class Client:
    """A browser that keeps its cookies, without a socket."""

    def __init__(self, visits: Visits) -> None:
        served = made_files(visits)
        served.get("/")(lambda: "the page")
        self.app, self.cookies = Guard(served, KEY), httpx.Cookies()

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, settings))

    def post(self, path: str, **settings: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, settings))

    async def _ask(self, method: str, path: str, settings: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:7860", cookies=self.cookies, follow_redirects=True
        ) as client:
            answer = await client.request(method, path, **settings)
            self.cookies = client.cookies
            return answer


@pytest.fixture
def client(visits: Visits) -> Client:
    return Client(visits)


def test_errors_become_text_without_the_servers_paths(visits: Visits, capsys: pytest.CaptureFixture[str]) -> None:
    path = visits.root / "visit-1" / "<img src=x onerror=alert(1)>.avi"
    said = problem(DataError(f"{path}: not a readable video", "and\x1b[31m this"), visits)
    assert "<img" not in said and "&lt;img" in said and "\x1b" not in said and str(visits.root) not in said
    fault = problem(ZeroDivisionError("<b>"), visits)
    assert "a fault in slstt" in fault and "<b>" not in fault and "Traceback" not in fault
    assert "ZeroDivisionError" in capsys.readouterr().err  # the window of the command shows where


def test_links_and_frame_lead_to_what_was_made_alone(tmp_path: Path) -> None:
    (tmp_path / "intervals.csv").write_text("x")
    result = PredictionResult("talk.avi", 100, 10, ("a",), (), (), files=("intervals.csv", "gone.csv"))
    found = re.findall(r'href="([^"]*)"', links(Shown(result, tmp_path, "abc")))
    assert found == ["/made/abc/intervals.csv"]
    frame = report_frame("abc")
    assert 'sandbox="allow-scripts"' in frame and 'src="/made/abc/report.html"' in frame


def test_only_the_printed_address_opens(client: Client) -> None:
    assert client.get("/").status_code == 403
    assert client.get("/?key=wrong").status_code == 403
    assert client.post("/gradio_api/upload", files={"files": ("x.avi", b"x")}).status_code == 403
    assert client.get(f"/?key={KEY}", headers={"host": "evil.example"}).status_code == 421
    assert address(7860, KEY) == f"http://127.0.0.1:7860/?key={KEY}"
    page = client.get(f"/?key={KEY}")  # redirects, with a cookie
    assert page.status_code == 200 and str(page.url) == "http://127.0.0.1:7860/"
    assert page.headers["content-security-policy"] == PAGE_POLICY
    assert "http:" not in PAGE_POLICY and "https:" not in PAGE_POLICY and "*" not in PAGE_POLICY


def test_what_was_made_is_sent_with_no_rights_and_is_gone_afterwards(
    client: Client, visits: Visits, tmp_path: Path
) -> None:
    for name in ("report.html", "intervals.csv", "result.json"):
        (tmp_path / name).write_text("<script>1</script>")
    visits.served["abc"] = tmp_path
    page = client.get("/made/abc/report.html")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "connect-src" not in policy
    table = client.get("/made/abc/intervals.csv")
    assert table.headers["content-disposition"].startswith("attachment")
    for other in ("/made/abc/result.json", "/made/abd/report.html", "/made/abc/..%2freport.html", "/made/abc/"):
        assert client.get(other).status_code in (403, 404)
    visits.served.clear()
    assert client.get("/made/abc/report.html").status_code == 404


def test_the_command_checks_everything_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--check"]) == 0
    assert "would be served at http://127.0.0.1:7860/" in capsys.readouterr().out
    wrong = ["--port", "80", "--largest-mb", "0", "--longest-s", "nan", "--weights", str(tmp_path), "flow.nothing=1"]
    assert main(wrong) == 2
    said = capsys.readouterr().err
    for word in ("--port 80", "--largest-mb 0", "--longest-s nan", str(tmp_path)):
        assert word in said
    assert "Traceback" not in said
