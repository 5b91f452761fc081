"""petrt node: receives PET series in a network, reconstructs them, and sends the derived series on."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from petrt.cli.needs import need_network
from petrt.cli.options import (
    AllowActivityChange,
    AllSlices,
    Device,
    Dose,
    EngineName,
    ForceUnits,
    MaxVoxels,
    Memory,
    Model,
    Nonfinite,
    Precision,
    Preset,
    Sampler,
    Samples,
    Seed,
    Steps,
    Strength,
    Threads,
    number,
    whole,
)
from petrt.cli.setup import Setup
from petrt.errors import PartialFailure, UsageError
from petrt.files.names import printable
from petrt.values import MOST

if TYPE_CHECKING:
    from petrt.node.scp import Listen
    from petrt.node.target import Target
    from petrt.node.web import WebServer

logger = logging.getLogger("petrt")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
NETWORK, QUEUE, MODEL = "Network", "Queue and limits", "Model"


def node(
    queue: Annotated[Path, typer.Option(help="Folder that keeps the series; made if missing.")],
    port: Annotated[
        int | None,
        typer.Option(
            callback=whole(0, 65535),
            rich_help_panel=NETWORK,
            show_default=False,
            help="Listen here for C-STORE; 0 is a free port.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(rich_help_panel=NETWORK, help="Address to listen on.")
    ] = "127.0.0.1",
    ae: Annotated[
        str, typer.Option(rich_help_panel=NETWORK, help="The node's own AE title.")
    ] = "PETRT",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="AE",
            show_default=False,
            help="AE title whose objects are taken; repeat for more.",
        ),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="AE@HOST:PORT",
            show_default=False,
            help="Send derived series here by C-STORE.",
        ),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="URL",
            show_default=False,
            help="Take series from this DICOMweb server, and store derived ones there, unless "
            "--forward is given. The variable PETRT_DICOMWEB_AUTHORIZATION holds the header "
            "Authorization.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="UID",
            show_default=False,
            help="Of the DICOMweb server, the series of this study.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK,
            show_default=False,
            help="Of the DICOMweb server, series of studies since YYYY-MM-DD, or of so many days, "
            "as 7d.",
        ),
    ] = None,
    modality: Annotated[
        str,
        typer.Option(
            rich_help_panel=NETWORK, help="Of the DICOMweb server, series of this modality."
        ),
    ] = "PT",
    poll_seconds: Annotated[
        float,
        typer.Option(
            rich_help_panel=NETWORK,
            callback=number(0.1, 86400, unit="s"),
            help="Seconds between two searches on the DICOMweb server.",
        ),
    ] = 60.0,
    quiet_seconds: Annotated[
        float,
        typer.Option(
            rich_help_panel=QUEUE,
            callback=number(0, 86400, unit="s"),
            help="A series is complete when nothing came for so long.",
        ),
    ] = 30.0,
    incomplete_seconds: Annotated[
        float,
        typer.Option(
            rich_help_panel=QUEUE,
            callback=number(0, 1e6, unit="s"),
            help="One with fewer slices than its header says is kept aside after so long.",
        ),
    ] = 600.0,
    attempts: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            rich_help_panel=QUEUE,
            help="Attempts to send a series; the pauses between them grow to 5 minutes.",
        ),
    ] = 20,
    keep: Annotated[
        bool, typer.Option("--keep", rich_help_panel=QUEUE, help="Keep series that are done.")
    ] = False,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            rich_help_panel=QUEUE,
            help="Do not listen: search once, work off the queue, and end.",
        ),
    ] = False,
    max_object: Annotated[
        float,
        typer.Option(
            rich_help_panel=QUEUE,
            metavar="MIB",
            callback=number(0.001, 1e5, unit="MiB"),
            help="Largest object.",
        ),
    ] = 256.0,
    max_objects: Annotated[
        int, typer.Option(min=1, max=MOST, rich_help_panel=QUEUE, help="Most objects of a series.")
    ] = 10_000,
    max_queue: Annotated[
        float,
        typer.Option(
            rich_help_panel=QUEUE,
            metavar="GIB",
            callback=number(1e-6, 1e6, unit="GiB"),
            help="Most that the queue holds; then nothing more is taken.",
        ),
    ] = 50.0,
    max_associations: Annotated[
        int, typer.Option(min=1, max=1000, rich_help_panel=QUEUE, help="Most senders at once.")
    ] = 8,
    max_rate: Annotated[
        float,
        typer.Option(
            rich_help_panel=QUEUE,
            callback=number(0.1, 1e6),
            help="Most objects a second; senders wait.",
        ),
    ] = 500.0,
    model: Model = "demo",
    samples: Samples = None,
    dose: Dose = None,
    seed: Seed = 0,
    preset: Preset = None,
    sampler: Sampler = None,
    steps: Steps = None,
    strength: Strength = 1.0,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = None,
    threads: Threads = None,
    memory: Memory = None,
    all_slices: AllSlices = False,
    allow_activity_change: AllowActivityChange = False,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
) -> None:
    """Receive PET series by C-STORE or DICOMweb, reconstruct them, send the derived series on.

    The queue survives a kill at any moment: the next run goes on. Loopback only,
    unless --host says otherwise. Logs hold no patient data. Not for diagnostic use.
    """
    from petrt.io.dicom.header import quiet
    from petrt.node.derive import SeriesRunner
    from petrt.node.limits import Limits
    from petrt.node.queue import Queue
    from petrt.node.scp import receiving
    from petrt.node.scu import Forward, Peer, ae_title
    from petrt.node.web import Poll, Wanted
    from petrt.node.work import Node

    need_network("petrt node")
    limits = Limits(
        int(max_object * 2**20), max_objects, int(max_queue * 2**30), max_associations, max_rate
    )
    wanted = Wanted(study, since, modality)
    wanted.check()
    listen = None if port is None or once else _listen(host, port, ae, allow)
    server = None if dicomweb is None else _server(dicomweb)
    if listen is None and server is None and not once:
        raise UsageError("nothing to receive from", "give --port or --dicomweb")
    target: Target | None = server
    if forward is not None:
        target = Forward(Peer.parse(forward), ae_title(ae))
    if target is None:
        raise UsageError("nowhere to send series", "give --forward AE@HOST:PORT or --dicomweb URL")
    setup = Setup.given(locals())
    setup.check(std=False)
    derive = SeriesRunner(
        setup.reconstructor,
        dose=setup.dose,
        nonfinite=nonfinite,  # type: ignore[arg-type]
        max_voxels=max_voxels,
        force_units=force_units,
    )
    # pydicom's messages, which quote values, are off in all threads for as long as the node runs.
    with quiet(), ExitStack() as stack:
        place = stack.enter_context(Queue(queue, limits).opened())
        poll = None
        if server is not None:
            poll = Poll(server, wanted, place, limits, derive.settings)
        if listen is not None:
            _say_hello(listen, stack.enter_context(receiving(place, listen, limits)))
        worker = Node(
            place,
            derive,
            target,
            settings=derive.settings,
            quiet=quiet_seconds,
            patience=incomplete_seconds,
            attempts=attempts,
            keep=keep,
            poll=poll,
            poll_seconds=poll_seconds,
        )
        worker.run(once=once)
    if worker.failures:
        raise PartialFailure(f"{worker.failures} series failed, the others are done", "see above")


def _listen(host: str, port: int, ae: str, allow: list[str] | None) -> Listen:
    """Where to listen. Raises UsageError, and warns of a network that can reach it."""
    from petrt.node.scp import Listen
    from petrt.node.scu import ae_title

    if not allow:
        raise UsageError("--port takes objects of nobody", "give --allow AE for each sender")
    if host not in LOOPBACK:
        logger.warning(
            "warning: %s can be reached from the network: AE titles are no proof of identity and nothing is "
            "encrypted; let a firewall or a TLS tunnel stand before it",
            printable(host),
        )
    return Listen(host, port, ae_title(ae), tuple(map(ae_title, allow)))


def _server(url: str) -> WebServer:
    """The DICOMweb server, with the authorization of the environment."""
    from petrt.node.web import AUTHORIZATION, WebServer

    authorization = os.environ.get(AUTHORIZATION)
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise UsageError(
            "--dicomweb holds a password, which all users of this machine can see",
            f"set {AUTHORIZATION} to the header's value",
        )
    if authorization and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        logger.warning("warning: the authorization goes unencrypted over http; use https")
    return WebServer(url, authorization)


def _say_hello(listen: Listen, port: int) -> None:
    allowed = ", ".join(listen.allowed)
    logger.info(
        "listening on %s:%d as %s, for %s", printable(listen.host), port, listen.ae_title, allowed
    )
