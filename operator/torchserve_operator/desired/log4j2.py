"""log4j2.xml: what the server logs, and where. Pure; the same spec gives the same bytes.

The jar brings log4j 2.17 without Jackson and without JsonTemplateLayout, in 0.11.1 as in 0.12: of the layouts that can
write JSON, PatternLayout with `%enc{…}{JSON}` is the one that works.
"""

from typing import Final, Literal

from lxml import etree

from torchserve_operator.api.names import MODELS_LOG
from torchserve_operator.api.spec import TorchServeModelSpec

_VERBOSITY: Final = ("OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL")

_CONSOLE: Final = "stdout"
_MODELS: Final = "models"

_PATTERNS: Final = {
    # One object a line: a stack trace is one string in it.
    "json": '{"time":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSSXXX}","level":"%p","logger":"%enc{%c}{JSON}",'
    '"thread":"%enc{%t}{JSON}","message":"%enc{%m}{JSON}"%notEmpty{,"exception":"%enc{%replace{%xEx}{\\s+$}{}}{JSON}"}}%n',
    "text": "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5p %t %c{1} - %m%n",
}
_MODELS_PATTERN: Final = "%d{UNIX_MILLIS} %p %t %c{1} %m%n"
"""What the agent parses; log4j appends an exception's stack trace by itself, which the agent reads too."""

_ACCESS_FILTER: Final = (
    # the kubelet's probe, while it succeeds: a failing one is news
    r'.*"GET /ping HTTP/[0-9.]+" 200 .*'
    # the agent, and whoever else is in the pod; a `kubectl port-forward` to the management API is
    r"|/(127\.0\.0\.1|\[?0:0:0:0:0:0:0:1(%[^\]]*)?\]?):[0-9]+ "
    r'"[A-Z]+ /(models|metrics|torchserve-operator)([/?].*)? HTTP/.*'
)
"""Access log messages that nobody wants: `/ADDRESS:PORT "METHOD URI PROTOCOL" STATUS MILLISECONDS`."""


def log4j2(spec: TorchServeModelSpec) -> str:
    """Return the file's text."""
    logging = spec.logging
    # `status` is log4j's own log: a fault of this file.
    root = etree.Element("Configuration", status="WARN")
    appenders = etree.SubElement(root, "Appenders")
    console = etree.SubElement(appenders, "Console", name=_CONSOLE, target="SYSTEM_OUT")
    layout = etree.SubElement(console, "PatternLayout", pattern=_PATTERNS[logging.format], charset="UTF-8")
    if logging.format == "json":
        # log4j does not see the exception inside %notEmpty, and would write it again, line by line.
        layout.set("alwaysWriteExceptions", "false")
    _models_appender(appenders)

    loggers = etree.SubElement(root, "Loggers")
    _access_log(loggers, spec)
    # What handlers print, and the exceptions of those that do not load.
    _logger(loggers, "MODEL_LOG", logging.level, for_agent="INFO")
    # At INFO it has four lines a request; what it has to say on workers that end is at WARN.
    _logger(loggers, "org.pytorch.serve.wlm", "WARN" if logging.level == "INFO" else logging.level, for_agent="WARN")
    _logger(loggers, "org.pytorch.serve.archive", logging.level, for_agent="WARN")
    _logger(loggers, "org.pytorch.serve.ModelServer", logging.level, for_agent="WARN")
    # A line a minute for each metric of the host, and one for each of a handler's: /metrics has them.
    metrics = "OFF" if spec.server.metrics.mode == "prometheus" else "INFO"
    for name, level in (
        ("TS_METRICS", metrics),
        ("MODEL_METRICS", metrics),
        ("io.netty", "ERROR"),
        ("org.apache", "OFF"),
    ):
        etree.SubElement(loggers, "Logger", name=name, level=level)
    main = etree.SubElement(loggers, "Root", level=logging.level)
    etree.SubElement(main, "AppenderRef", ref=_CONSOLE)
    text: str = etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8").decode()
    return text


def _models_appender(appenders: etree._Element) -> None:
    """Add the small file that the agent follows: a cause is found in it at every level that a user may choose."""
    file = etree.SubElement(appenders, "RollingFile", name=_MODELS, fileName=MODELS_LOG, filePattern=f"{MODELS_LOG}.%i")
    etree.SubElement(file, "PatternLayout", pattern=_MODELS_PATTERN, charset="UTF-8")
    policies = etree.SubElement(file, "Policies")
    etree.SubElement(policies, "SizeBasedTriggeringPolicy", size="1 MB")
    etree.SubElement(file, "DefaultRolloverStrategy", max="1")


def _access_log(loggers: etree._Element, spec: TorchServeModelSpec) -> None:
    logger = etree.SubElement(loggers, "Logger", name="ACCESS_LOG", level=spec.logging.access_level, additivity="false")
    if not spec.logging.pings:
        etree.SubElement(logger, "RegexFilter", regex=_ACCESS_FILTER, onMatch="DENY", onMismatch="NEUTRAL")
    etree.SubElement(logger, "AppenderRef", ref=_CONSOLE)


def _logger(loggers: etree._Element, name: str, level: str, *, for_agent: Literal["WARN", "INFO"]) -> None:
    """Add a logger whose lines go to the console at the user's level and to the agent's file at its own."""
    most = max(level, for_agent, key=_VERBOSITY.index)
    logger = etree.SubElement(loggers, "Logger", name=name, level=most, additivity="false")
    etree.SubElement(logger, "AppenderRef", ref=_CONSOLE, level=level)
    etree.SubElement(logger, "AppenderRef", ref=_MODELS, level=for_agent)
