"""The report's LaTeX compiles, whatever letters its labels have."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.finished import result, write_finished
from unlearning.report import collect
from unlearning.report.latex import latex
from unlearning.report.tables import report_on

PAGE = (
    "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}\\begin{document}\n%s\n\\end{document}\n"
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_tables_compile(tmp_path: Path) -> None:
    (root := tmp_path / "runs").mkdir()
    odd = [
        result(0.01 * seed, seed, config={"method.note": note})
        for note in ("50% & a_b^c ~ #1 {x}", "\\\\ <y> | $")
        for seed in range(3)
    ]
    write_finished(root, *odd)
    page = latex(report_on(collect(root), "forget/acc,gap/mean"))
    assert "50\\%" in page  # the labels hold the odd letters
    (tmp_path / "page.tex").write_text(PAGE % page, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 1000
