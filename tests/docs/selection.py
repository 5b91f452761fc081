"""Which commands of the pages ``test_commands`` runs, and where each of the others is run."""

from __future__ import annotations

from typing import NamedTuple

from tests.docs.pages import PAGES, Command, commands


class Elsewhere(NamedTuple):
    """Why a command does not run here, and the test that runs it, or what it adds to one that does."""

    why: str
    test: str


GPU = "needs a GPU"
CLUSTER = "needs a cluster"
ELSEWHERE = {
    "build-engine demo": Elsewhere(
        GPU,
        "export/tensorrt/test_on_twin.py::"
        "test_an_engine_is_built_verified_installed_opened_and_gives_the_cpus_images",
    ),
    "build-engine demo --gpu rtx40,rtx50": Elsewhere(
        "needs TensorRT for RTX and minutes",
        "export/tensorrt/test_build_engine.py::"
        "test_the_command_of_the_page_builds_the_demo_model_for_two_gpus",
    ),
    "reconstruct low.nii.gz out.nii.gz --device cuda": Elsewhere(
        GPU, "gpu/test_engines.py::test_agrees_with_the_cpu_for_the_same_noise"
    ),
    "reconstruct scans/ results/ --ray auto --threads 8": Elsewhere(
        CLUSTER, "cli/test_ray.py::test_the_files_of_a_serial_run_though_a_worker_is_killed"
    ),
    "bids study results participant --ray auto --threads 8": Elsewhere(
        CLUSTER, "cli/test_ray.py::test_a_bids_data_set_gives_the_files_of_a_serial_run"
    ),
    "train demo --data data/ --out run/ --threads 1": Elsewhere(
        "its launcher starts two processes", "train/test_processes.py::test_two_processes_equal_one"
    ),
}
# These follow from each other on the page of training. Other pages show some of them again.
TRAINING = {"prepare", "train", "export", "calibrate"}
TRAINING_PAGE = "training.md"

BY_PAGE = {page.name: commands(page) for page in PAGES}
COMMANDS = list({each.arguments: each for found in BY_PAGE.values() for each in found}.values())


def words(command: Command) -> str:
    return " ".join(command.arguments)


def runs(command: Command) -> bool:
    """Whether ``command`` runs with its page: by default it does."""
    if words(command) in ELSEWHERE:
        return False
    again = {each.arguments for each in BY_PAGE[TRAINING_PAGE] if each.arguments[0] in TRAINING}
    return command.page == TRAINING_PAGE or command.arguments not in again


RUNNING = {page: [each for each in found if runs(each)] for page, found in BY_PAGE.items()}
