"""The drill's documents: real, several thousand, the same every time."""

import sysconfig
from pathlib import Path

import pytest

from kedge.drill.corpus import TEXT_CHARACTERS_MAX, _modules, corpus_digest, read_corpus
from kedge.errors import InvalidValue

STDLIB = Path(sysconfig.get_path("stdlib"))
MODULE = '''"""A module that is documented at some length, for the test."""

class Shelf:
    """Something that holds books, and says how many it holds."""

    def put(self, book, *, at=0):
        """Put a book on the shelf, at a place that is free.

        The place must be free. Raise ValueError if it is not.
        """

    def _hidden(self):
        """Never in the corpus, being private, however long this is."""

def short():
    """Too short."""
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "shelves.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text('def f(:\n    """No document, since nobody can parse this source."""\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_shelves.py").write_text('"""A test module, which is no part of the corpus at all."""\n')
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_text(
        '"""Somebody else\'s module, which is not the library\'s."""\n'
    )
    return tmp_path


def test_several_thousand_documents_of_the_standard_library_come_in_order() -> None:
    documents = read_corpus()
    ids = [document.id for document in documents]
    assert 3000 <= len(documents) <= 6000
    assert ids == sorted(set(ids))
    assert {"json", "logging", "email"} <= {name.partition(".")[0] for name, _ in _modules(STDLIB, "")}
    assert all(len(document.text) <= TEXT_CHARACTERS_MAX for document in documents)


def test_the_same_limit_gives_the_same_documents_and_whole_modules_first() -> None:
    assert corpus_digest(read_corpus(300)) == corpus_digest(read_corpus(300))
    assert len(read_corpus(300)) == 300
    assert {document.id for document in read_corpus(200)} <= {document.id for document in read_corpus(400)}


def test_a_document_is_a_public_docstring_with_its_signature(library: Path) -> None:
    documents = {document.id: document for document in read_corpus(root=library)}
    assert sorted(documents) == ["shelves", "shelves.Shelf", "shelves.Shelf.put"]
    assert documents["shelves.Shelf.put"].topic == "shelves"
    assert documents["shelves.Shelf.put"].text.startswith("shelves.Shelf.put(self, book, *, at=0)\n\nPut a book")


def test_another_text_has_another_digest(library: Path) -> None:
    before = corpus_digest(read_corpus(root=library))
    (library / "shelves.py").write_text(MODULE.replace("books", "boxes"))
    assert corpus_digest(read_corpus(root=library)) != before


def test_a_library_without_sources_and_a_limit_of_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="sources"):
        read_corpus(root=tmp_path)
    with pytest.raises(InvalidValue, match="must be at least 1"):
        read_corpus(0)
