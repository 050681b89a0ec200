"""State in files that the application writes and reads back."""

from textwrap import dedent

import pytest

from kedge.discovery.scan.local.paths import meet
from tests.unit.discovery.programs import local_found as found

PAIRS = {
    "a constant": ("open('notes.md', 'a').write(x)", "open('notes.md').read()"),
    "through Path": ("Path('data') / 'notes.md'; (Path('data') / 'notes.md').write_text(x)", "open('data/notes.md')"),
    "through os.path.join": ("json.dump(x, open(os.path.join('d', 'n.json'), 'w'))", "Path('d', 'n.json').read_text()"),
    "a format": ("open(f'notes/{x}.md', mode='w')", "open('notes/%s.md' % x)"),
    "a pattern": ("Path(f'notes/{x}.md').write_text(x)", "list(Path('notes').glob('*.md'))"),
    "a folder": ("open('notes/' + x, 'wb')", "os.listdir('notes')"),
    "a setting": ("open(config['notes'], 'w')", "open(config.get('notes'))"),
    "an environment variable": ("open(os.environ['NOTES'], 'w')", "open(os.getenv('NOTES'))"),
    "a table": ("x.to_parquet('notes.parquet')", "pd.read_parquet('notes.parquet')"),
    "an array": ("np.save('notes.npy', x)", "np.load('notes.npy')"),
    "a module": ("torch.save(x, 'notes.pt')", "torch.load('notes.pt')"),
    "asynchronous": ("aiofiles.open('notes.md', 'w')", "aiofiles.open('notes.md')"),
    "renamed": ("t = Path('n.tmp'); t.write_text(x); t.replace('notes.md' + '')", "open('notes.md')"),
    "a home": ("(Path.home() / '.notes').write_text(x)", "open(os.path.expanduser('~/.notes'))"),
}


@pytest.mark.parametrize(("write", "read"), PAIRS.values(), ids=PAIRS)
def test_what_is_read_back_is_state(write: str, read: str) -> None:
    source = f"def keep(x):\n    {write}\ndef recall(x):\n    return {read}\n"
    assert found(source) == ["2 write file:memory keep"]
    assert found(source.replace(read, "x")) == []


NEVER = {
    "another file": ("open('a.md', 'w')", "open('b.md')"),
    "another folder": ("open(f'a/{x}.md', 'w')", "open(f'b/{x}.md')"),
    "another setting": ("open(config['a'], 'w')", "open(config['b'])"),
    "another pattern": ("open(f'a/{x}.md', 'w')", "Path('a').glob('*.json')"),
    "a temporary file": ("open(tempfile.mkdtemp() + '/a', 'w')", "open(tempfile.mkdtemp() + '/a')"),
    "a path that says nothing": ("open(x, 'w')", "open(x)"),
    "a text that is too long": (f"open('{'a' * 600}', 'w')", f"open('{'a' * 600}')"),
    "a log": ("open('a.log', 'a')", "open('a.log')"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "read"), NEVER.values(), ids=NEVER)
def test_what_nothing_reads_back_is_no_state(write: str, read: str) -> None:
    assert found(f"def keep(x):\n    {write}\ndef recall(x):\n    return {read}\n") == []


def test_within_one_function_only_an_earlier_read_counts() -> None:
    cache = """
        def load(key):
            path = os.path.join(config["cache_dir"], f"{key}.csv")
            if os.path.exists(path):
                return pd.read_csv(path)
            data = download(key)
            data.to_csv(path)
            return data
        """
    assert found(cache) == ["7 write file:cache load"]
    written_first = """
        def convert(key):
            open("out.csv", "w").write(key)
            return open("out.csv").read()
        """
    assert found(written_first) == []


STORE = """
    from pathlib import Path
    FOLDER = Path.home() / ".app" / "cache"
    class PromptCache:
        def __init__(self, folder=FOLDER):
            self._folder = Path(folder)
        def get(self, key):
            return (self._folder / f"{key}.json").read_text()
        def put(self, key, value):
            path = self._folder / f"{key}.json"
            path.write_text(value)
            self.put(key, value)
    """


def test_an_attribute_is_one_path_and_calls_of_the_writer_are_writes() -> None:
    use = """
        from cache import PromptCache
        class Agent:
            def __init__(self, cache=None):
                self._cache = cache if cache is not None else PromptCache()
            def predict(self, key):
                if self._cache.get(key) is None:
                    self._cache.put(key, ask(key))
        """
    assert found({"cache.py": STORE, "agent.py": use}) == [
        "agent.py:5 bind file:cache Agent.__init__",
        "agent.py:8 write file:cache Agent.predict",
        "cache.py:11 write file:cache PromptCache.put",
    ]


def test_the_path_of_a_value_is_not_one_file() -> None:
    source = """
        class Resolved:
            def __init__(self, path):
                self.path = path
        def keep(found: Resolved, text):
            open(found.path, "w").write(text)
        def recall(found: Resolved):
            return open(found.path).read()
        """
    assert found(source) == []
    own = """
        class Log:
            def __init__(self, path):
                self.path = path
            def keep(self, text):
                open(self.path, "w").write(text)
            def recall(self):
                return open(self.path).read()
        """
    assert found(own) == ["6 write file:memory Log.keep"]


def test_a_path_that_helpers_are_given() -> None:
    files = {
        "files.py": """
            def save(path, value):
                with open(path, "w") as file:
                    json.dump(value, file)
            def save_in(folder, value):
                save(folder / "facts.json", value)
            def load(path):
                return json.load(open(path))
            """,
        "memory.py": """
            from pathlib import Path
            from files import load, save, save_in
            def remember(fact):
                save(Path("memory") / "notes.json", fact)
            def learn(fact):
                save_in(Path("memory"), fact)
            def recall():
                return load("memory/notes.json"), load("memory/facts.json")
            """,
    }
    assert found(files) == [
        "files.py:3 write file:memory save",
        "files.py:6 write file:memory save_in",
        "memory.py:5 write file:memory remember",
        "memory.py:7 write file:memory learn",
    ]
    files["memory.py"] = files["memory.py"].replace("load(", "print(")
    assert found(files) == []


def test_a_function_of_the_repository_builds_the_path() -> None:
    source = """
        def path_of(user):
            return Path("users") / user / "profile.md"
        def keep(user, text):
            path_of(user).write_text(text)
        def recall(user):
            return path_of(user).read_text()
        """
    assert found(source) == ["5 write file:memory keep"]


@pytest.mark.parametrize(
    ("path", "store"),
    [("'.env'", "file:config"), ("'uploads/a.pdf'", "file:upload"), ("'llm_cache.json'", "file:cache")],
)
def test_the_family_is_told_by_the_name(path: str, store: str) -> None:
    source = f"def keep(x):\n    open({path}, 'w')\ndef recall():\n    return open({path})\n"
    assert found(source) == [f"2 write {store} keep"]


def test_a_prompt_in_a_file_is_a_pin() -> None:
    source = """
        import os
        def system():
            with open(os.path.join(os.path.dirname(__file__), "prompts", "system.md")) as file:
                return file.read()
        def other():
            return open("data/system.md").read() + open("prompts/table.csv").read()
        """
    assert found(source) == ["4 pin file:prompt system"]
    written = f"{dedent(source)}def keep(x):\n    open('prompts/system.md', 'w')\n"
    assert found(written) == ["9 write file:memory keep"]


def test_typescript() -> None:
    files = {
        "store.ts": """
            import { promises as fs } from "fs";
            import path from "path";
            const FILE = path.join(process.cwd(), "data", "threads.json");
            export async function save(threads: object) {
              await fs.writeFile(FILE, JSON.stringify(threads));
            }
            export async function load() {
              return JSON.parse(await fs.readFile(FILE, "utf-8"));
            }
            """
    }
    assert found(files) == ["store.ts:6 write file:memory save"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a/*.json", "a/b-*.json", True),
        ("a/*.json", "a/*/b.json", False),
        ("a/**", "a/b/c", True),
        ("<x>/a*", "<x>/*b", True),
        ("<x>/a", "<y>/a", False),
        ("a*b", "*c", False),
        ("*" * 60 + "a", "*" * 60 + "b", False),
    ],
)
def test_patterns_that_a_path_can_match_both(first: str, second: str, expected: bool) -> None:
    assert meet(first, second) is expected
    assert meet(second, first) is expected
