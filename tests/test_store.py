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

from unlearning.engine.key import Key, canonical
from unlearning.engine.store import Store
from unlearning.errors import UserError
from unlearning.runtime.digests import file_digest
from unlearning.runtime.shared_files import exclusive, write_atomic

# children are forked from a clean process that has imported torch once: a plain spawn pays for the import every time
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["unlearning.engine.store"])
PLACE = "paths.runs"
KEY = Key({"setting": {"model": "small_cnn", "seed": 0}, "code": {"methods/base.py": "f00"}})


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
    """All files but the lock files, which stay."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def seeded(seed: int) -> Key:
    """``KEY`` with another seed."""
    return Key({**KEY.parts, "setting": {**KEY.parts["setting"], "seed": seed}})


def test_a_key_is_the_sha256_of_the_sorted_json_of_its_parts() -> None:
    # printf '{"setting":{"a":[1,null,true],"b":0.5}}' | sha256sum
    expected = "60e151e597faca478c357570f8e6aef56f9dcba9e7d33bbd8317c0769e230d68"
    keys = [Key({"setting": {"b": 0.5, "a": [1, None, True]}}), Key({"setting": {"a": (1, None, True), "b": 0.5}})]
    assert [key.digest for key in keys] == [expected, expected]
    assert Key({"setting": {"a": 1}}).digest != Key({"setting": {"a": "1"}}).digest
    assert canonical({"b": 0.5, "a": [1, None, True]}) == '{"a":[1,null,true],"b":0.5}'


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
    assert made.path == again.path == tmp_path / "kind" / f"{KEY.digest}.safetensors"
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
    assert json.loads(header["__metadata__"]["key"]) == KEY.parts  # with its labels
    assert header["__metadata__"]["key"] == (
        '{"code":{"methods/base.py":"f00"},"setting":{"model":"small_cnn","seed":0}}'
    )


def test_keys_and_kinds_do_not_collide(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.get_or_create("original", KEY, ones)
    assert not store.get_or_create("retrained", KEY, ones).cached
    assert not store.get_or_create("original", seeded(1), ones).cached
    assert store.get_or_create("original", Key(dict(reversed(KEY.parts.items()))), pytest.fail).cached


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two whole files that were swapped, as when a store is put together by hand."""
    store = Store(tmp_path)
    one, two = (store.get_or_create("kind", seeded(n), lambda n=n: ({"w": torch.full((2,), n)}, {})) for n in (1, 2))
    aside = one.path.rename(tmp_path / "aside")
    two.path.rename(one.path)
    aside.rename(two.path)
    for n in (1, 2):
        entry = store.get_or_create("kind", seeded(n), lambda n=n: ({"w": torch.full((2,), 10 * n)}, {}))
        assert (entry.cached, entry.tensors["w"].tolist()) == (False, [10 * n, 10 * n])
        assert store.get_or_create("kind", seeded(n), pytest.fail).cached
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("another key" in record.message for record in caplog.records)


def test_an_entry_is_replaced_where_it_is_wanted_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.get_or_create("kind", KEY, ones)
    second = store.get_or_create("kind", KEY, lambda: ({"w": torch.zeros(2)}, {"seconds": 7}), again=True)
    assert second.path == first.path
    assert not second.cached
    assert (second.tensors["w"].tolist(), second.facts) == ([0, 0], {"seconds": 7})
    third = store.get_or_create("kind", KEY, pytest.fail)
    assert (third.tensors["w"].tolist(), third.facts, third.cached) == ([0, 0], {"seconds": 7}, True)
    assert files(tmp_path) == [f"{KEY.digest}.safetensors"]
    assert not store.get_or_create("kind", seeded(1), ones, again=True).cached  # there was none


def test_a_failing_replacement_leaves_the_entry_as_it_was(tmp_path: Path) -> None:
    def explode() -> tuple[dict, dict]:
        raise ValueError("NaN loss")

    store = Store(tmp_path)
    store.get_or_create("kind", KEY, ones)
    with pytest.raises(ValueError, match="NaN loss"):
        store.get_or_create("kind", KEY, explode, again=True)
    assert store.get_or_create("kind", KEY, pytest.fail).facts == {"seconds": 2.5}


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
    (tmp_path / "kind" / f"{KEY.digest}.safetensors").mkdir(parents=True)
    with pytest.raises(UserError) as refused:
        Store(tmp_path).get_or_create("kind", KEY, ones)
    assert (refused.value.key, refused.value.kind) == ("paths.store", "storage")
    assert "\n" not in str(refused.value)


def test_a_store_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "results.json"
    with pytest.raises(UserError) as refused:
        write_atomic(path, b"{}", PLACE)
    assert (refused.value.key, refused.value.kind) == (PLACE, "storage")
    assert str(refused.value).endswith(f" while writing {path}: set paths.runs=DIR")


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
    handler.setLevel(logging.WARNING)  # what the screen shows

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
        entry = Store(root).get_or_create("kind", seeded(number), lambda n=number: make(n))
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
    assert files(tmp_path / "kind") == [bystander.name, f"{KEY.digest}.safetensors"]


def fill_the_disk(root: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # of bytes in a file; beyond it, the kernel says EFBIG
    (root / "results.json").write_text("old")
    path = root / "kind" / f"{KEY.digest}.safetensors"
    with pytest.raises(UserError) as caught:
        Store(root).get_or_create("kind", KEY, lambda: ({"w": torch.ones(10_000)}, {}))
    assert str(caught.value) == f"no space left while writing {path}: free some space or set paths.store=DIR"
    assert caught.value.kind == "storage"
    with pytest.raises(UserError) as caught:
        write_atomic(root / "results.json", bytes(3000), PLACE)
    assert (caught.value.key, caught.value.kind) == (PLACE, "storage")
    assert (root / "results.json").read_text() == "old"
    assert not Store(root).get_or_create("kind", KEY, ones).cached  # there is space enough for less


def test_a_full_disk_is_one_clear_line_and_nothing_is_left(tmp_path: Path) -> None:
    join(start(fill_the_disk, tmp_path))
    assert files(tmp_path) == [f"{KEY.digest}.safetensors", "results.json"]


def hold(path: Path, ready: Path) -> None:
    with exclusive(path, PLACE):
        ready.touch()
        time.sleep(0.4)


def test_exclusive_waits_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    process = start(hold, tmp_path / "runs" / "a", tmp_path / "ready")
    wait_for(tmp_path / "ready")
    began = time.monotonic()
    with exclusive(tmp_path / "runs" / "b", PLACE):
        assert time.monotonic() - began < 0.2  # another folder is free
    with exclusive(tmp_path / "runs" / "a", PLACE):
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
    with pytest.raises(UserError) as full:  # on both ranks, though only one writes
        store.get_or_create("kind", seeded(1), lambda: ({"w": torch.ones(100_000)}, {}))
    assert full.value.kind == "storage"
    dist.destroy_process_group()


def test_under_distributed_every_rank_makes_and_rank_0_writes(tmp_path: Path) -> None:
    join(*[start(distributed, tmp_path, rank) for rank in range(2)])
    assert files(tmp_path / "kind") == [f"{KEY.digest}.safetensors"]
