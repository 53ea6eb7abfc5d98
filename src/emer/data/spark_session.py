"""A Spark session: the cluster's own, or one on this machine; and its failures in words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from emer.errors import DataError, EmerError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA = 17
"""The least version that Spark 4 runs on."""

# Only where nobody has set them: those of spark-submit and spark-defaults.conf win.
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.log.level": "OFF",  # a fault in the data would be a page of Java; it comes as an EmerError
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # Spark starts a process for every core
}


@contextmanager
def session() -> Iterator[SparkSession]:
    """A session with SQL settings of its own on the active Spark; without one, Spark is started and stopped again.

    Raises:
        EmerError: Spark or Java is missing, or Spark fails in the block; a DataError raised by an executor comes as
            itself.
    """
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EmerError(f"Spark is not installed ({error}); pip install 'emer[spark]', with a JDK {JAVA}+") from error
    active = SparkSession.getActiveSession()
    try:
        here = active or _started()
        try:
            own = here.newSession()
            own.conf.set("spark.sql.caseSensitive", "true")
            own.conf.set("spark.sql.session.timeZone", "UTC")
            yield own
        finally:
            if active is None:
                here.stop()
    except (Py4JError, PySparkException) as error:
        raise told(str(error)) from error


def _started() -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit has started Java already
        check_java()
    SparkContext._ensure_initialized()  # without Java, a SparkConf does not know what spark-submit set
    conf = SparkConf()
    conf.setIfMissing("spark.master", "local[*]").setIfMissing("spark.app.name", "emer prepare")
    local = (conf.get("spark.master") or "").startswith("local")
    conf.set("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())  # Spark has set it to true everywhere
    if local:
        for key, value in _LOCAL.items():
            conf.setIfMissing(key, value)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return SparkSession.builder.config(conf=conf).getOrCreate()


def check_java() -> None:
    """Refuse to start Spark without a Java that it runs on.

    Raises:
        EmerError: there is none in JAVA_HOME or on the PATH, or an old one.
    """
    advice = f"install a JDK {JAVA}+ and set JAVA_HOME to its folder"
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        raise EmerError(f"Spark needs Java, and there is none {'in JAVA_HOME' if home else 'on the PATH'}; {advice}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < JAVA:
        raise EmerError(f"Spark needs Java {JAVA} or later, and {java} is {found[1] if found else 'none'}; {advice}")


def told(text: str) -> EmerError:
    """What a user has to know of a failure whose traces, in Java and Python, are ``text``."""
    own = re.search(r"emer\.errors\.(DataError|EmerError): (.+)", text)
    if own:
        return (DataError if own[1] == "DataError" else EmerError)(own[2])
    file = re.search(r"reading file file:/*(/\S+?)\.\s+SQLSTATE", text)
    record = re.search(r"Malformed CSV record: (.+?)\s+SQLSTATE", text)
    if file and record:
        reason = "has more or fewer cells than the header, or a line break inside quotes, which Spark cannot read"
        return DataError(f"{unquote(file[1])}: the line {record[1]} {reason}")
    if "No module named 'emer'" in text:
        return EmerError("the executors of Spark have no emer; install it in their Python (PYSPARK_PYTHON)")
    causes = re.findall(r"^Caused by: (.+)$", text, re.M) or [text.strip().splitlines()[0] if text.strip() else "?"]
    return EmerError(f"Spark failed: {causes[-1]}")
