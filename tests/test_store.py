"""The store, with real processes: made once, never half-written, damage noticed."""

import json
import logging
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from unlearning.engine.store import Store, digest, exclusive, write_atomic
from unlearning.errors import UserError
from unlearning.runtime.digests import file_digest

# children are forked from a clean process that has imported torch once: a plain spawn pays for the import every time
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["unlearning.engine.store"])
HINT = "set paths.runs=DIR"
KEY = {"model": "small_cnn", "seed": 0}


def start(act: Callable, *arguments: object) -> multiprocessing.Process:
    process = CONTEXT.Process(target=act, args=arguments)
    process.start()
    return process


def join(*processes: multiprocessing.Process) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ones() -> tuple[dict, dict]:
    return {"w": torch.ones(3)}, {"seconds": 2.5}


def files(folder: Path) -> list[str]:
    """All but the lock files, which stay."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_digest_is_the_sha256_of_sorted_json() -> None:
    # printf '{"a":[1,null,true],"b":0.5}' | sha256sum
    expected = "fe227fc9854e410e3d9904a993d958de68da8a9b7d58d3abc8b8714e25874028"
    assert digest({"b": 0.5, "a": [1, None, True]}) == digest({"a": (1, None, True), "b": 0.5}) == expected
    assert digest({"a": 1}) != digest({"a": "1"})


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # the SHA-256 test vector of FIPS 180-2
    assert file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_kind_of_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    images = torch.arange(48, dtype=torch.float32).reshape(2, 2, 3, 4)
    tensors = {
        "half": torch.tensor([1.5, -65504.0], dtype=torch.float16),
        "brain": torch.tensor([[1.0, 3.0e38]], dtype=torch.bfloat16),
        "int64": torch.tensor([2**62 + 1, -1]),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(7.25),
        "empty": torch.empty(0, 3),
        "channels_last": images.to(memory_format=torch.channels_last),
        "view": images[:, :, ::2].mT,
        "tied": images,
        "nan": torch.tensor([float("nan"), float("-inf")]),
        "leaf": torch.ones(2, requires_grad=True),
    }
    made = Store(tmp_path).get_or_create("kind", KEY, lambda: (tensors, {"seconds": 0.1, "device": "cpu"}))
    again = Store(tmp_path).get_or_create("kind", KEY, pytest.fail)
    assert (made.cached, again.cached) == (False, True)
    assert made.path == again.path == tmp_path / "kind" / f"{digest(KEY)}.safetensors"
    assert made.facts == again.facts == {"seconds": 0.1, "device": "cpu"}
    for entry in (made, again):
        assert entry.tensors.keys() == tensors.keys()
        for name, tensor in entry.tensors.items():
            assert tensor.dtype == tensors[name].dtype
            assert tensor.is_contiguous()
            assert not tensor.requires_grad
            assert torch.equal(tensor.nan_to_num(9), tensors[name].detach().nan_to_num(9)), name
    with Path(made.path).open("rb") as file:  # a person can read the key: header length, then JSON
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert json.loads(header["__metadata__"]["key"]) == KEY


def test_keys_and_kinds_do_not_collide(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.get_or_create("original", KEY, ones)
    assert not store.get_or_create("retrained", KEY, ones).cached
    assert not store.get_or_create("original", KEY | {"seed": 1}, ones).cached
    assert store.get_or_create("original", dict(reversed(KEY.items())), pytest.fail).cached


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: flipped(data, len(data) - 1),
        lambda data: flipped(data, data.index(b"2.5")),  # a fact
        lambda data: flipped(data, data.index(b"small_cnn")),  # the key
        lambda data: flipped(data, 0),
        lambda data: b"<html>not a tensor</html>" * 40,
    ],
    ids=["empty", "stub", "half", "short", "tensor", "fact", "key", "length", "garbage"],
)
def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path: Path, damage: Callable, caplog) -> None:
    store = Store(tmp_path)
    path = store.get_or_create("kind", KEY, ones).path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING, "unlearning"):
        entry = store.get_or_create("kind", KEY, ones)
    assert not entry.cached
    assert torch.equal(entry.tensors["w"], torch.ones(3))
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "corrupt" in record.getMessage()
    assert "\n" not in record.getMessage()
    caplog.clear()
    assert store.get_or_create("kind", KEY, pytest.fail).cached
    assert not caplog.records


def test_an_unreadable_entry_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "kind" / f"{digest(KEY)}.safetensors").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^cannot read .*safetensors \(.*\): set paths.store=DIR$"):
        Store(tmp_path).get_or_create("kind", KEY, ones)


def test_a_store_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"while writing .*file/results.json: set paths.runs=DIR$"):
        write_atomic(tmp_path / "file" / "results.json", b"{}", "set paths.runs=DIR")


def test_a_failing_make_leaves_nothing_and_frees_the_entry(tmp_path: Path) -> None:
    def explode() -> tuple[dict, dict]:
        raise ValueError("NaN loss")

    with pytest.raises(ValueError, match="NaN loss"):
        Store(tmp_path).get_or_create("kind", KEY, explode)
    assert files(tmp_path) == []
    assert not Store(tmp_path).get_or_create("kind", KEY, ones).cached


# --- several processes


def make_slowly(root: Path, me: int) -> None:
    handler = logging.FileHandler(root / f"{me}.txt")
    logging.getLogger("unlearning").addHandler(handler)
    logging.getLogger("unlearning").setLevel(logging.INFO)

    def make() -> tuple[dict, dict]:
        with (root / "made.txt").open("a") as file:
            file.write(f"{me}\n")
        (root / "ready").touch()
        time.sleep(0.5)
        return {"w": torch.full((3,), float(me))}, {"maker": str(me)}

    if me:
        wait_for(root / "ready")
    entry = Store(root).get_or_create("kind", KEY, make)
    assert entry.cached == (me != 0)
    assert entry.facts == {"maker": "0"}
    assert torch.equal(entry.tensors["w"], torch.zeros(3))
    assert Store(root).get_or_create("kind", KEY, make).cached


def test_concurrent_processes_make_an_entry_once(tmp_path: Path) -> None:
    join(*[start(make_slowly, tmp_path, me) for me in range(3)])
    assert (tmp_path / "made.txt").read_text() == "0\n"
    assert (tmp_path / "0.txt").read_text() == ""
    for waiter in ("1.txt", "2.txt"):
        (line,) = (tmp_path / waiter).read_text().splitlines()
        assert line.startswith(f"waiting for {tmp_path / 'kind'}")
        assert line.endswith("another process is making it")


def race(root: Path, me: int) -> None:
    (root / f"up{me}").touch()
    for other in range(3):
        wait_for(root / f"up{other}")

    def make(number: int) -> tuple[dict, dict]:
        with (root / "made.txt").open("a") as file:
            file.write(f"{number}\n")
        return ones()

    for number in range(20):
        entry = Store(root).get_or_create("kind", {"n": number}, lambda n=number: make(n))
        assert torch.equal(entry.tensors["w"], torch.ones(3))


def test_processes_that_start_together_make_each_entry_once(tmp_path: Path) -> None:
    join(*[start(race, tmp_path, me) for me in range(3)])
    assert sorted(map(int, (tmp_path / "made.txt").read_text().split())) == list(range(20))


def hang(root: Path) -> None:
    (root / "ready").touch()
    time.sleep(60)


def hang_in_make(root: Path) -> None:
    Store(root).get_or_create("kind", KEY, lambda: hang(root))


def hang_in_writing(root: Path) -> None:
    os.fsync = lambda number: hang(root)  # the bytes are written, the file has not its name yet
    Store(root).get_or_create("kind", KEY, ones)


@pytest.mark.parametrize(("act", "left"), [(hang_in_make, 0), (hang_in_writing, 1)])
def test_a_killed_process_leaves_no_entry_and_the_next_one_makes_it(tmp_path: Path, act: Callable, left: int) -> None:
    process = start(act, tmp_path)
    wait_for(tmp_path / "ready")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    remains = files(tmp_path / "kind")
    assert len(remains) == left
    assert not any(name.endswith(".safetensors") for name in remains)
    bystander = tmp_path / "kind" / ".other.safetensors.1.tmp"  # another entry's, that may be being written
    bystander.touch()
    assert not Store(tmp_path).get_or_create("kind", KEY, ones).cached
    assert files(tmp_path / "kind") == [bystander.name, f"{digest(KEY)}.safetensors"]


def fill_the_disk(root: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # of bytes in a file; beyond it, the kernel says EFBIG
    (root / "results.json").write_text("old")
    path = root / "kind" / f"{digest(KEY)}.safetensors"
    with pytest.raises(UserError) as caught:
        Store(root).get_or_create("kind", KEY, lambda: ({"w": torch.ones(10_000)}, {}))
    assert str(caught.value) == f"no space left while writing {path}: free some space or set paths.store=DIR"
    with pytest.raises(UserError, match=r"^no space left while writing .*results.json: free some space or ask$"):
        write_atomic(root / "results.json", bytes(3000), "ask")
    assert (root / "results.json").read_text() == "old"
    assert not Store(root).get_or_create("kind", KEY, ones).cached  # there is space enough for less


def test_a_full_disk_is_one_clear_line_and_nothing_is_left(tmp_path: Path) -> None:
    join(start(fill_the_disk, tmp_path))
    assert files(tmp_path) == [f"{digest(KEY)}.safetensors", "results.json"]


def hold(path: Path, ready: Path) -> None:
    with exclusive(path, HINT):
        ready.touch()
        time.sleep(0.4)


def test_exclusive_waits_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    process = start(hold, tmp_path / "runs" / "a", tmp_path / "ready")
    wait_for(tmp_path / "ready")
    began = time.monotonic()
    with exclusive(tmp_path / "runs" / "b", HINT):
        assert time.monotonic() - began < 0.2  # another folder is free
    with exclusive(tmp_path / "runs" / "a", HINT):
        assert time.monotonic() - began > 0.2
    assert not (tmp_path / "runs" / "a").exists()
    join(process)


def distributed(root: Path, rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{root / 'meet'}", rank=rank, world_size=2)
    calls = []

    def make() -> tuple[dict, dict]:  # collective, as training is: it hangs unless both ranks come
        total = torch.tensor([rank + 1.0])
        dist.all_reduce(total)
        calls.append(rank)
        return {"sum": total, "rank": torch.tensor(rank)}, {"seconds": float(rank)}

    store = Store(root)
    for cached in (False, True):
        entry = store.get_or_create("kind", KEY, make)
        assert entry.cached == cached
        assert entry.tensors["sum"].item() == 3
        assert entry.tensors["rank"].item() == 0  # what rank 0 wrote is what all get
        assert entry.facts == {"seconds": 0.0}
    assert calls == [rank]
    dist.barrier()
    if rank == 0:
        entry.path.write_bytes(b"damaged")
    dist.barrier()
    assert not store.get_or_create("kind", KEY, make).cached
    if rank == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # room for the processes' own rendezvous
    with pytest.raises(UserError, match="no space left"):  # on both ranks, though only one writes
        store.get_or_create("kind", KEY | {"seed": 1}, lambda: ({"w": torch.ones(100_000)}, {}))
    dist.destroy_process_group()


def test_under_distributed_every_rank_makes_and_rank_0_writes(tmp_path: Path) -> None:
    join(*[start(distributed, tmp_path, rank) for rank in range(2)])
    assert files(tmp_path / "kind") == [f"{digest(KEY)}.safetensors"]
