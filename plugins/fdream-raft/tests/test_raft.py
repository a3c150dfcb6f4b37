"""The stages keep the rules of their kind; the rest runs without torchvision too."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from einops import rearrange
from fdream_raft.estimator import RaftEstimator, network_size
from fdream_raft.network import load_raft, optical_flow
from fdream_raft.specs import FLOW_RAFT, RAFT, RaftOptions
from safetensors.torch import save_file
from torch import nn

from fdream.core.device import DeviceManager
from fdream.core.errors import StageError, WeightsError
from fdream.stages import registry, testing

ROOT = Path(__file__).parents[3]
STAGES = [("supervisor", "raft"), ("metric", "flow-raft")]
CASES = [(kind, name, check) for kind, name in STAGES for check in testing.checks(kind)]


def why_not() -> str:
    """Return why torchvision cannot be used here, or nothing."""
    try:
        optical_flow()
    except StageError as error:
        return str(error)
    return ""


REASON = why_not()
needs_torchvision = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture(scope="module")
def cpu() -> DeviceManager:
    return DeviceManager.choose("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the small network."""
    path = tmp_path_factory.mktemp("raft") / "raft_small.safetensors"
    torch.manual_seed(0)
    network = optical_flow().raft_small(weights=None)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


class Shift(nn.Module):
    """Answers like RAFT: everything goes (3, 5) pixels of what the network is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, first, second, num_flow_updates):
        self.seen.append(tuple(first.shape))
        flow = torch.tensor([3.0, 5.0])
        return [flow[None, :, None, None].expand(len(first), 2, *first.shape[-2:])]


class Signed(Shift):
    """Forward one way, back the other: what goes comes back, wherever it is in the clip."""

    def forward(self, first, second, num_flow_updates):
        (flow,) = super().forward(first, second, num_flow_updates)
        later = (second.mean((1, 2, 3)) > first.mean((1, 2, 3))).float() * 2 - 1
        return [torch.zeros_like(flow), flow * later[:, None, None, None]]


def rising(frames: int, height: int, width: int) -> torch.Tensor:
    """A clip that grows brighter from frame to frame: (1, 3, F, H, W)."""
    levels = torch.linspace(-1, 1, frames)
    return rearrange(levels, "f -> 1 1 f 1 1").expand(1, 3, frames, height, width)


def test_flow_comes_back_in_pixels_of_the_frame(cpu: DeviceManager) -> None:
    network = Signed()
    target = RaftEstimator(network, 2, device=cpu)(rising(3, 64, 100))
    assert network.seen[0] == (2, 3, 128, 200)
    assert target.flow.shape == (1, 2, 2, 64, 100)
    assert torch.allclose(target.flow[:, 0], torch.tensor(3.0 * 100 / 200))
    assert torch.allclose(target.flow[:, 1], torch.tensor(5.0 * 64 / 128))
    # What leaves the picture is seen no more; the rest comes back to where it was.
    assert bool((target.visibility[..., :60, :95] == 1).all())


def test_what_does_not_come_back_is_not_seen(cpu: DeviceManager) -> None:
    target = RaftEstimator(Shift(), 2, device=cpu)(rising(3, 128, 128))
    assert bool((target.visibility == 0).all())


@pytest.mark.parametrize(
    ("size", "shown"),
    [((128, 128), (128, 128)), ((130, 260), (136, 264)), ((32, 32), (128, 128))],
)
def test_the_network_gets_sizes_that_it_takes(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert network_size(size) == shown


def test_long_clips_go_through_in_parts(cpu: DeviceManager) -> None:
    network = Shift()
    target = RaftEstimator(network, 2, device=cpu)(rising(12, 128, 128))
    assert [shape[0] for shape in network.seen] == [8, 3, 8, 3]
    assert target.flow.shape[2] == 11


def test_one_frame_has_no_flow(cpu: DeviceManager) -> None:
    target = RaftEstimator(Shift(), 2, device=cpu)(rising(1, 32, 32))
    assert target.flow.shape == (1, 2, 0, 32, 32)
    assert target.visibility.shape == (1, 1, 0, 32, 32)


def test_a_torchvision_that_does_not_fit_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    words = "operator torchvision::nms does not exist"
    (package / "__init__.py").write_text(f"raise RuntimeError({words!r})")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(StageError) as caught:
        load_raft(RaftOptions())
    said = str(caught.value)
    assert "\n" not in said
    assert words in said
    assert "https://download.pytorch.org/whl/cpu" in said
    assert caught.value.exit_code == 3


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys, fdream_raft.specs; print({'torch', 'torchvision'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_entry_points_lead_to_the_specs() -> None:
    points = metadata.distribution("fdream-raft").entry_points
    found = {(point.group, point.name): point.load() for point in points}
    assert found == {("fdream.supervisor", "raft"): RAFT, ("fdream.metric", "flow-raft"): FLOW_RAFT}


def test_nothing_in_fdream_names_it() -> None:
    files = [*(ROOT / "fdream").rglob("*.py"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    assert len(files) > 100
    naming = [f for f in files if any(w in f.read_text() for w in ("fdream_raft", "fdream-raft"))]
    assert naming == []


@needs_torchvision
@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_conformance(kind, name, check, weights: Path) -> None:
    options = {"size": "small", "weights": str(weights), "updates": 2}
    testing.run(check, testing.Subject(kind, name, options)).demand()


@needs_torchvision
def test_a_run_stores_predictnet_and_no_teacher(weights: Path, cpu: DeviceManager) -> None:
    options = {"size": "small", "weights": str(weights)}
    stage = registry.build("supervisor", "raft", options, device=cpu)
    from fdream.models.noise_schedule import NoiseSchedule

    stage.attach([8], NoiseSchedule.pocket())
    assert all(name.startswith("truth.") for name in stage.state_dict())


@needs_torchvision
def test_weights_that_are_not_here_or_not_raft_are_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"raft_small.*\.pth are not here.*download"):
        load_raft(RaftOptions(size="small"))
    with pytest.raises(WeightsError, match="no weights of raft_large"):
        load_raft(RaftOptions(size="large", weights=str(weights)))
    pickled = tmp_path / "raft_small.pth"
    torch.save({"code": print}, pickled)
    with pytest.raises(WeightsError, match="no weights of raft_small"):
        load_raft(RaftOptions(size="small", weights=str(pickled)))
    with pytest.raises(WeightsError, match="no such file"):
        load_raft(RaftOptions(weights="nowhere.pth"))


@needs_torchvision
def test_a_cached_file_is_held_to_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = Path(optical_flow().Raft_Small_Weights.DEFAULT.url).name
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="damaged"):
        load_raft(RaftOptions(size="small"))
