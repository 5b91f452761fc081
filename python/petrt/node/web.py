"""A DICOMweb server: finds series (QIDO-RS), retrieves them (WADO-RS) and stores derived ones (STOW-RS)."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from petrt.errors import PetrtError, UsageError, first_line
from petrt.io.dicom.derivation import MAKER, NOTICE
from petrt.node.limits import Limits
from petrt.node.objects import FULL, OTHER_CLASS, Refused, examine, is_uid
from petrt.node.queue import Queue
from petrt.node.target import NotSent

logger = logging.getLogger("petrt")

# The value of the header Authorization; a command line would show it to all users of the machine.
AUTHORIZATION = "PETRT_DICOMWEB_AUTHORIZATION"
CONNECT_S, ANSWER_S = 10.0, 300.0
# Objects are stored in requests of about so many bytes.
_REQUEST_BYTES = 32 << 20
_FIELDS = ("SeriesDescription", "NumberOfSeriesRelatedInstances", "StudyInstanceUID")
# Answers that another attempt does not change.
_FINAL = (400, 409, 413, 415, 422)


@dataclass(frozen=True)
class Wanted:
    """Which series to look for: of ``study``, not older than ``since`` (a date as YYYY-MM-DD, or a number of
    days as 7d), of a ``modality``."""

    study: str | None = None
    since: str | None = None
    modality: str = "PT"

    def check(self) -> None:
        """Raise UsageError for what cannot be asked."""
        if self.study is not None and not is_uid(self.study):
            raise UsageError("--study is not a UID", "give a StudyInstanceUID")
        if not re.fullmatch(r"[A-Z]{2,16}", self.modality):
            raise UsageError("--modality is not a modality", "give one as PT")
        self.filters()

    def filters(self) -> dict[str, str]:
        """The search's filters, today."""
        found = {"Modality": self.modality}
        if self.since is None:
            return found
        try:
            days = re.fullmatch(r"(\d{1,5})d", self.since)
            first = (
                date.today() - timedelta(int(days[1])) if days else date.fromisoformat(self.since)
            )
        except (ValueError, OverflowError) as error:
            raise UsageError("--since is not a date", "give YYYY-MM-DD, or days as 7d") from error
        return found | {"StudyDate": f"{first:%Y%m%d}-"}


@dataclass(frozen=True)
class Found:
    """A series on the server; ``objects``: how many it has, 0 if the server does not say.

    ``is_source``: it has UIDs, and petrt has not derived it.
    """

    study: str
    series: str
    objects: int
    is_source: bool = True


class NotReached(Exception):
    """A request that failed; the text holds no UID. ``status``: of HTTP, or 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class WebServer:
    """The server at ``url``; ``authorization`` is sent in the header of this name."""

    def __init__(self, url: str, authorization: str | None = None) -> None:
        import requests
        from dicomweb_client.api import DICOMwebClient

        for name in ("dicomweb_client", "urllib3", "retrying"):  # their log lines hold UIDs
            logging.getLogger(name).addHandler(logging.NullHandler())
            logging.getLogger(name).propagate = False
        session = requests.Session()
        if authorization:
            session.headers["Authorization"] = authorization
            session.trust_env = False  # a .netrc would replace the header
        try:
            self._client = DICOMwebClient(url, session=session, timeout=(CONNECT_S, ANSWER_S))
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                "--dicomweb is not a URL", "give one as https://host/dicom-web"
            ) from error
        self._client.set_http_retry_params(retry=False)

    def find(self, wanted: Wanted) -> Iterator[Found]:
        """The series that the server has, but for those that petrt derived. Raises NotReached."""
        seen: set[Found] = set()
        while True:
            with _reached():
                answers = self._client.search_for_series(
                    study_instance_uid=wanted.study,
                    search_filters=wanted.filters(),
                    fields=list(_FIELDS),
                    offset=len(seen),
                )
                page = [_found(each, wanted) for each in answers]
            # Some servers give a part of the answers, others know no offset and give all again.
            if seen.issuperset(page):
                return
            yield from (each for each in page if each not in seen and each.is_source)
            seen.update(page)

    def retrieve(self, found: Found) -> Iterator[bytes]:
        """The files of a series, as the server has them. Raises NotReached."""
        from pydicom import dcmwrite

        with _reached():
            kinds = (("application/dicom", "*"),)
            for dataset in self._client.iter_series(found.study, found.series, media_types=kinds):
                content = io.BytesIO()
                dcmwrite(content, dataset, enforce_file_format=True)
                yield content.getvalue()

    def send(self, files: Sequence[Path]) -> None:
        """See petrt.node.target.Target."""
        try:
            for some in _requests(files):
                self._store(some)
        except NotReached as error:
            raise NotSent(error.reason, again=error.status not in _FINAL) from error

    def _store(self, files: Sequence[Path]) -> None:
        from pydicom import dcmread

        with _reached():
            datasets = [dcmread(file) for file in files]
            answer = self._client.store_instances(datasets)
            refused = answer.get("FailedSOPSequence") or []
        if refused:
            status = int(refused[0].get("FailureReason") or 0)
            reason = f"the DICOMweb server refuses {len(refused)} objects, status {status:04X}"
            raise NotSent(reason, again=status in range(0xA700, 0xA800))


@dataclass(frozen=True)
class Poll:
    """Takes the series of a server into a queue that are ``wanted`` and not done with these ``settings``."""

    server: WebServer
    wanted: Wanted
    queue: Queue
    limits: Limits
    settings: str

    def __call__(self) -> None:
        """One search. Whatever fails is logged, and tried again by the next one."""
        try:
            for found in self.server.find(self.wanted):
                if not self._is_known(found):
                    self._take(found)
        except NotReached as error:
            logger.warning("no search: %s", error.reason)
        except (PetrtError, OSError) as error:  # of the queue, such as a full disk
            logger.warning("nothing is retrieved: %s", first_line(error))

    def _is_known(self, found: Found) -> bool:
        if self.queue.waits(found.series, max(1, found.objects)):
            return True
        record = self.queue.done(found.series)
        return (
            record is not None
            and record.get("settings") == self.settings
            and record.get("objects", 0) >= found.objects
        )

    def _take(self, found: Found) -> None:
        case = self.queue.receiving(found.series)
        try:
            if found.objects > self.limits.objects:
                raise Refused(FULL, "its series has more objects than one may have")
            self.queue.expect(found.series, found.objects)
            for content in self.server.retrieve(found):
                item = examine(content)
                if item.series != found.series:
                    raise Refused(OTHER_CLASS, "its UIDs are not those that were announced")
                self.queue.add(item)
            logger.info("%s: retrieved", case.label)
        except NotReached as error:
            logger.warning("%s: not retrieved: %s", case.label, error.reason)
        except Refused as refused:
            if refused.again:
                logger.warning("%s: not retrieved: %s", case.label, refused.reason)
                return
            if not case.path.exists():
                self.queue.expect(found.series, found.objects)
            self.queue.fail(case, f"an object is refused: {refused.reason}")
            logger.error("failed: %s: an object is refused: %s", case.label, refused.reason)


@contextmanager
def _reached() -> Iterator[None]:
    """Turn whatever dicomweb-client raises into NotReached, without the URL, which holds UIDs."""
    import requests

    try:
        yield
    except NotReached:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise NotReached(f"the DICOMweb server answers {status}", status) from error
    except requests.exceptions.InvalidJSONError as error:
        raise NotReached("the DICOMweb server's answer is no JSON") from error
    except requests.RequestException as error:
        kind = (
            "does not answer in time" if isinstance(error, requests.Timeout) else "is not reached"
        )
        raise NotReached(f"the DICOMweb server {kind}") from error
    except Exception as error:  # an answer that is not DICOMweb
        kind = type(error).__name__
        raise NotReached(f"the DICOMweb server's answer cannot be read ({kind})") from error


def _found(answer: Any, wanted: Wanted) -> Found:
    study, series = _text(answer, "0020000D") or wanted.study or "", _text(answer, "0020000E")
    ours = f"{MAKER} {NOTICE}", f"{MAKER} std {NOTICE}"
    is_source = is_uid(study) and is_uid(series)
    is_source = is_source and not _text(answer, "0008103E").endswith(ours)
    count = _text(answer, "00201209")
    return Found(study, series, int(count) if count.isdecimal() else 0, is_source)


def _text(answer: Any, tag: str) -> str:
    """The first value of an attribute in DICOM JSON; "" if there is none."""
    try:
        return str(answer[tag]["Value"][0]).strip()
    except (KeyError, IndexError, TypeError):
        return ""


def _requests(files: Sequence[Path]) -> Iterator[list[Path]]:
    """``files`` in portions of about ``_REQUEST_BYTES``."""
    some: list[Path] = []
    size = 0
    for file in files:
        some.append(file)
        size += file.stat().st_size
        if size >= _REQUEST_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
