"""What the worker says of itself: logs and metrics from closed lists of names, and traces carried on."""

from worker.telemetry.events import Level, LogEvent
from worker.telemetry.fields import FieldName
from worker.telemetry.logs import Logger, capture_crashes, capture_libraries, make_logger
from worker.telemetry.metrics import Metric, Metrics, UnknownSeries
from worker.telemetry.observer import Observer
from worker.telemetry.traces import trace_headers, valid_traceparent, valid_tracestate

__all__ = [
    "FieldName",
    "Level",
    "LogEvent",
    "Logger",
    "Metric",
    "Metrics",
    "Observer",
    "UnknownSeries",
    "capture_crashes",
    "capture_libraries",
    "make_logger",
    "trace_headers",
    "valid_traceparent",
    "valid_tracestate",
]
