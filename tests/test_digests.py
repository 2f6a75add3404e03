"""The digest of a folder follows all that can be read through it, links included."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unlearning.errors import UserError
from unlearning.runtime.digests import content_digest
from unlearning.runtime.files import files_below


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Files that lie outside of the folder that is asked about."""
    (tmp_path / "pool" / "cats").mkdir(parents=True)
    (tmp_path / "pool" / "cats" / "1.png").write_bytes(b"1")
    return tmp_path / "pool"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


def test_a_folder_of_classes_that_are_links(top: Path, pool: Path) -> None:
    (top / "cats").symlink_to(pool / "cats")
    before = content_digest(top)
    (pool / "cats" / "2.png").write_bytes(b"2")
    added = content_digest(top)
    (pool / "cats" / "1.png").write_bytes(b"another")
    changed = content_digest(top)
    (pool / "cats" / "1.png").unlink()
    assert len({before, added, changed, content_digest(top)}) == 4


def test_a_file_that_is_a_link_counts_by_what_it_leads_to(top: Path, pool: Path) -> None:
    (top / "1.png").symlink_to(pool / "cats" / "1.png")
    before = content_digest(top)
    (pool / "cats" / "1.png").write_bytes(b"another")
    assert content_digest(top) != before


def test_a_link_counts_as_what_it_leads_to(top: Path, pool: Path, tmp_path: Path) -> None:
    """A copy with the same times has the same digest: data are the same wherever they lie."""
    (top / "cats").symlink_to(pool / "cats")
    copy = tmp_path / "copy" / "cats"
    copy.mkdir(parents=True)
    (copy / "1.png").write_bytes(b"1")
    status = (pool / "cats" / "1.png").stat()
    os.utime(copy / "1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_digest(copy.parent) == content_digest(top)


def test_loops_of_links_end(top: Path, pool: Path) -> None:
    (top / "cats").symlink_to(pool / "cats")
    (pool / "cats" / "up").symlink_to(top)
    (pool / "cats" / "itself").symlink_to(pool / "cats")
    for number in range(12):  # each leads to all others: there are more ways through them than seconds
        (pool / f"{number}").mkdir()
        for other in range(12):
            (pool / f"{number}" / f"to {other}").symlink_to(pool / f"{other}")
        (top / f"{number}").symlink_to(pool / f"{number}")
    before = content_digest(top)
    assert content_digest(top) == before
    (pool / "11" / "x.png").write_bytes(b"x")
    assert content_digest(top) != before


def test_which_class_a_second_link_leads_to_counts(top: Path, pool: Path) -> None:
    """The files are listed once, and the folder that is met again by its name and its target."""
    for name in ("dogs", "birds"):
        (pool / name).mkdir()
        (top / name).symlink_to(pool / name)
    found = []
    for target in ("dogs", "birds"):
        (top / "zebras").unlink(missing_ok=True)
        (top / "zebras").symlink_to(pool / target)
        found.append(content_digest(top))
    assert found[0] != found[1]


def test_a_link_to_nothing_is_not_there(top: Path) -> None:
    before = content_digest(top)
    (top / "gone").symlink_to(top / "nowhere")
    assert content_digest(top) == before


def test_files_come_in_order_and_each_once(top: Path, pool: Path) -> None:
    (top / "b").mkdir()
    (top / "b" / "2").touch()
    (top / "a").touch()
    (top / ".hidden").mkdir()
    (top / ".hidden" / "3").touch()
    (top / "c").symlink_to(top / ".hidden")
    (top / "d").symlink_to(pool / "cats")
    (top / "e").symlink_to(pool / "cats")
    files, again = files_below(top)
    assert [path.relative_to(top).as_posix() for path in files] == [".hidden/3", "a", "b/2", "d/1.png"]
    assert again == {top / "c": top / ".hidden", top / "e": top / "d"}
    files, again = files_below(top, hidden=False)
    assert [path.relative_to(top).as_posix() for path in files] == ["a", "b/2", "c/3", "d/1.png"]
    assert again == {top / "e": top / "d"}


def test_a_folder_that_cannot_be_read_is_named(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "closed").mkdir()
    entries = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return entries(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(UserError) as refused:
        content_digest(top)
    assert refused.value.kind == "file"
    assert str(refused.value) == f"cannot read {top / 'closed'}: Permission denied"
