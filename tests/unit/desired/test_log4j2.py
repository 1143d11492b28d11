"""log4j2.xml, by what it lets through; tests/server has a real log4j read it."""

import re

import pytest
from lxml import etree

from torchserve_operator.desired.log4j2 import log4j2
from unit.desired.specs import make_spec


def parsed(**logging: object) -> etree._Element:
    """The file of a spec with these logging fields."""
    return etree.fromstring(log4j2(make_spec(logging=logging)).encode())


def hidden(message: str) -> bool:
    """Whether the access log leaves a message out; log4j's RegexFilter matches whole messages."""
    pattern = parsed().find("Loggers/Logger[@name='ACCESS_LOG']/RegexFilter").get("regex")
    return re.fullmatch(pattern, message) is not None


@pytest.mark.parametrize(
    "message",
    [
        '/10.244.1.1:40312 "GET /ping HTTP/1.1" 200 0',
        '/127.0.0.1:40312 "GET /models HTTP/1.1" 200 2',
        '/127.0.0.1:40312 "GET /models?limit=1000 HTTP/1.1" 200 2',
        '/127.0.0.1:40312 "GET /models/digits/all HTTP/1.1" 404 1',
        '/127.0.0.1:40312 "PUT /models/digits?min_worker=1&max_worker=1 HTTP/1.1" 202 1',
        '/127.0.0.1:40312 "GET /torchserve-operator/stats HTTP/1.1" 200 0',
        '/127.0.0.1:40312 "GET /metrics HTTP/1.1" 200 0',
        '/0:0:0:0:0:0:0:1:40312 "GET /metrics HTTP/1.1" 200 0',
        '/[0:0:0:0:0:0:0:1%0]:40312 "GET /metrics HTTP/1.1" 200 0',
    ],
)
def test_probes_and_the_agent_are_not_in_the_access_log(message: str) -> None:
    assert hidden(message)


@pytest.mark.parametrize(
    "message",
    [
        '/10.244.1.1:40312 "POST /predictions/digits HTTP/1.1" 200 12',
        '/127.0.0.1:40312 "POST /predictions/models HTTP/1.1" 200 12',
        '/10.244.1.1:40312 "GET /ping HTTP/1.1" 500 0',
        '/10.244.1.1:40312 "GET /predictions/ping HTTP/1.1" 200 0',
        '/10.244.1.1:40312 "DELETE /models/digits HTTP/1.1" 405 0',
        '/10.244.1.1:40312 "GET /metricsfoo HTTP/1.1" 404 0',
    ],
)
def test_everything_else_is(message: str) -> None:
    assert not hidden(message)


def test_pings_that_are_wanted_are_not_filtered() -> None:
    assert parsed(pings=True).find(".//RegexFilter") is None


@pytest.mark.parametrize("level", ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"])
def test_the_agents_file_gets_the_same_at_every_level(level: str) -> None:
    tree = parsed(level=level)
    seen = {}
    verbosity = ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"]
    for logger in tree.iterfind("Loggers/Logger"):
        for reference in logger.iterfind("AppenderRef[@ref='models']"):
            wanted = reference.get("level")
            assert verbosity.index(logger.get("level")) >= verbosity.index(wanted)
            seen[logger.get("name")] = wanted
    assert seen == {
        "MODEL_LOG": "INFO",
        "org.pytorch.serve.wlm": "WARN",
        "org.pytorch.serve.archive": "WARN",
        "org.pytorch.serve.ModelServer": "WARN",
    }


@pytest.mark.parametrize(("level", "wlm"), [("ERROR", "ERROR"), ("WARN", "WARN"), ("INFO", "WARN"), ("DEBUG", "DEBUG")])
def test_the_console_has_no_chatter_of_each_request_unless_it_is_asked_for(level: str, wlm: str) -> None:
    logger = parsed(level=level).find("Loggers/Logger[@name='org.pytorch.serve.wlm']")
    assert logger.find("AppenderRef[@ref='stdout']").get("level") == wlm


@pytest.mark.parametrize(("mode", "level"), [("prometheus", "OFF"), ("log", "INFO"), ("legacy", "INFO")])
def test_metrics_are_logged_only_where_that_is_the_mode(mode: str, level: str) -> None:
    text = log4j2(make_spec(server={"metrics": {"mode": mode}}))
    for name in ("TS_METRICS", "MODEL_METRICS"):
        assert etree.fromstring(text.encode()).find(f"Loggers/Logger[@name='{name}']").get("level") == level
