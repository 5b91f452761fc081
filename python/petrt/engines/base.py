"""The engine protocol: given named buffers, enqueue one forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from petrt.diffusion.guides import OFFSETS
from petrt.errors import InputError
from petrt.model.bundle import Bundle

# name -> NumPy array on a CPU, petrt._cuda.DeviceArray on a GPU; C-contiguous either way.
Buffers = Mapping[str, Any]
Division = Literal["own", "shared"]
# Fewest and most; None for no limit.
BatchRange = tuple[int, int | None]
ANY_BATCH: BatchRange = (1, None)


class Engine(Protocol):
    """Runs the graphs of one bundle on one device. Engines inherit what they do not say themselves.

    Buffers stay where they are between calls: ``bind`` fixes the addresses once, and the function it
    returns runs one forward, reading the inputs and writing the outputs in place. On a GPU it only
    enqueues: the forward runs on ``stream``, after what was enqueued there before.

    Attributes:
        device: "cpu" or "cuda:0".
        precision: of the arithmetic. Images, guides, the dose and the noise bias are float32 at the
            interface in every precision; ``dtypes`` tells the dtype of features and maps.
        threads: CPU threads of one call; 1 on a GPU.
        capturable: whether a CUDA graph may record what the engine enqueues.
        stream: the petrt._cuda.Stream of all its work; None on a CPU.
        division: how threads may divide a call on a CPU without changing a bit of its result. None: not
            at all. "own": every call has ``threads`` of its own. "shared": calls at the same time share
            a pool of ``threads`` - 1, beside the thread that each comes on.
        survives_fork: whether it can go on in a process forked from the one that opened it. An engine
            with threads between calls, or with a GPU, cannot: it would wait for ever.
        binding_bytes: memory that binding every graph once takes for weights, an estimate; 0 for an
            engine that takes it when it is opened.
        notes: what the record of a run says about this engine.
    """

    name: str
    device: str
    version: str
    precision: str
    threads: int
    capturable: bool
    stream: Any
    division: Division | None = None
    survives_fork: bool = False
    binding_bytes: int = 0

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Inputs and outputs of ``graph``: name -> shape, with a string for a dynamic dimension."""
        ...

    def dtypes(self, graph: str) -> dict[str, str]:
        """Inputs and outputs of ``graph``: name -> "float32", "float16" or "bfloat16"."""
        inputs, outputs = self.tensors(graph)
        return dict.fromkeys((*inputs, *outputs), "float32")

    def batch_range(self, graph: str) -> BatchRange:
        """Fewest and most slices (guidance, coarse) or images (denoiser) of one call. On a CPU any
        number from 1 on; a pipeline on a GPU fills a call up to the fewest."""
        return ANY_BATCH

    def output_shapes(
        self, graph: str, inputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for inputs of the given shapes."""
        return resolve_shapes(self.tensors(graph), inputs)

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        """Bind C-contiguous buffers; names must be exactly the graph's."""
        ...

    def with_threads(self, threads: int) -> Engine | None:
        """The same engine with other threads, on the same weights; None: it has to be opened again."""
        return None

    @property
    def notes(self) -> dict[str, str]:
        return {}


def is_feature(name: str) -> bool:
    """Guidance's outputs are features, for the coarse network, and maps, for the denoiser."""
    return name.startswith("features_")


def resolve_shapes(
    tensors: tuple[dict[str, list[Any]], dict[str, list[Any]]],
    inputs: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs of a bundle's graph, from its named dimensions.

    A dimension is a number, a name ("slices"), or a name over a power of two ("height/4"). Raises
    InputError where the inputs contradict each other or do not settle an output.
    """
    sizes: dict[str, int] = {}
    for name, shape in inputs.items():
        declared = tensors[0][name]
        if len(declared) != len(shape):
            raise InputError(f"{name}: expected {len(declared)} dimensions, got shape {shape}")
        for dim, size in zip(declared, shape, strict=True):
            base, over = _dimension(dim)
            if base.isdigit():
                sizes[base] = int(base)
            if sizes.setdefault(base, size * over) != size * over:
                raise InputError(f"{name}: dimension {dim} is {sizes[base]}, got shape {shape}")

    def resolve(dim: Any) -> int:
        base, over = _dimension(dim)
        if base.isdigit():
            return int(base)
        if base not in sizes:
            raise InputError(f"no input tells the dimension {dim}", "export the model again")
        return sizes[base] // over

    return {name: tuple(map(resolve, dims)) for name, dims in tensors[1].items()}


def _dimension(dim: Any) -> tuple[str, int]:
    """("height", 4) for "height/4", ("5", 1) for 5."""
    base, _, over = str(dim).partition("/")
    return base, int(over or 1)


def interface(bundle: Bundle, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Inputs and outputs of a bundle's graph with its named dimensions: name -> [dimension]."""
    network = bundle.network(graph)
    inputs, outputs = (
        {name: list(dims) for name, dims in each.items()}
        for each in (network.inputs, network.outputs)
    )
    return inputs, outputs


def check_names(graph: str, kind: str, expected: set[str], found: set[str]) -> None:
    """Refuse a graph whose inputs or outputs are not the ones the runtime feeds or reads."""
    if expected != found:
        parts = []
        if expected - found:
            parts.append(f"lacks {', '.join(sorted(expected - found))}")
        if found - expected:
            parts.append(f"has unknown {', '.join(sorted(found - expected))}")
        raise InputError(
            f"{graph}.onnx: {kind} do not match: {'; '.join(parts)}", "export it again"
        )


def checked(engine: Engine, graph: str, inputs: Buffers, outputs: Buffers) -> dict[str, Any]:
    """The buffers of ``graph`` by name in the graph's order, inputs first.

    Raises InputError for other names than the graph's, ValueError for another dtype or memory order.
    """
    tensors, dtypes = engine.tensors(graph), engine.dtypes(graph)
    found: dict[str, Any] = {}
    for kind, wanted, given in zip(("inputs", "outputs"), tensors, (inputs, outputs), strict=True):
        check_names(graph, kind, set(wanted), set(given))
        found |= {name: given[name] for name in wanted}
    for name, array in found.items():
        contiguous = engine.stream is not None or array.flags.c_contiguous
        if str(array.dtype) != dtypes[name] or not contiguous:
            raise ValueError(f"{graph}: {name} must be C-contiguous {dtypes[name]}")
    return found


def check_interface(engine: Engine, bundle: Bundle) -> None:
    """The chain guidance -> coarse -> denoiser must close: each input has a source (bundle format)."""
    network = bundle.model.network
    if network.guide_count and network.guidance.neighbours != OFFSETS:
        raise InputError(
            f"the model takes neighbouring slices {network.guidance.neighbours}, the runtime stacks {OFFSETS}"
        )
    guides = {1: {"nas"}, 2: {"nas", "spectrum"}}.get(network.guide_count, set())
    guides |= {"dose"} if network.dose else set()
    produced: set[str] = set()
    if bundle.onnx("guidance") is not None:
        inputs, outputs = engine.tensors("guidance")
        x = {"x"} if network.denoiser else set()
        check_names("guidance", "inputs", x | guides, set(inputs))
        produced = set(outputs)
    if network.coarse:
        inputs, outputs = engine.tensors("coarse")
        features = {name for name in produced if is_feature(name)}
        check_names("coarse", "inputs", {network.coarse_reads} | features, set(inputs))
        check_names("coarse", "outputs", {"x_cp"}, set(outputs))
    if network.denoiser:
        inputs, outputs = engine.tensors("denoiser")
        maps = {name for name in produced if not is_feature(name)}
        check_names("denoiser", "inputs", {"r", "film"} | maps, set(inputs))
        check_names("denoiser", "outputs", {"eps"}, set(outputs))
