"""The README and docs/: their code runs, their commands work, their links exist."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, Reader, find_blocks, find_pages, is_file, is_run

pytestmark = pytest.mark.docs

PAGES = find_pages()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CITED = re.compile(r"`((?:tests|bench|src)/[\w./]+)`")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(is_run(b) or b.language == "console" for b in find_blocks(p))], ids=_name
)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEDGE_DB", str(tmp_path / ".kedge"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # of kedge scan
    monkeypatch.syspath_prepend(tmp_path)  # a page may write a module
    Reader(page, tmp_path).follow()


@pytest.mark.parametrize(
    ("page", "block"),
    [(p, b) for p in PAGES for b in find_blocks(p) if b.language == "python" and not is_run(b) and not is_file(b)],
    ids=lambda value: _name(value) if isinstance(value, Path) else f"line {value.line}",
)
def test_a_block_that_does_not_run_says_why(page: Path, block: Block) -> None:
    _, _, reason = block.info.partition(":")
    assert reason.strip(), f"{_name(page)}:{block.line}: write ```python no-run: and the reason"
    compile(block.text, str(page), "exec")
    pytest.skip(reason.strip())


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_and_cited_files_are_there(page: Path) -> None:
    broken = []
    for target in LINK.findall(_prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(target)
    broken += [cited for cited in CITED.findall(_prose(page)) if not (ROOT / cited).exists()]
    assert not broken, f"{_name(page)} has broken links or file names: {', '.join(broken)}"


def test_the_workflow_on_the_page_is_the_one_that_is_linted() -> None:
    page = (ROOT / "docs" / "readiness.md").read_text(encoding="utf-8")
    assert (ROOT / "examples" / "github" / "readiness.yml").read_text(encoding="utf-8") in page
