"""State in the memory of a process, found without a rule for a library."""

import pytest

from tests.unit.discovery.programs import local_found as found

STATE = {
    "a dict that a function fills": """
        _results = {}
        def fetch(url):
            if url not in _results:
                _results[url] = download(url)
            return _results[url]
        """,
    "a scalar that global binds anew": """
        _cached_text: str | None = None
        def page():
            global _cached_text
            if _cached_text is None:
                _cached_text = download()
            return _cached_text
        """,
    "a deque of tasks": """
        task_list = deque([])
        def add(task):
            task_list.append(task)
        def work():
            run(task_list.popleft())
        """,
    "histories by session": """
        store = {}
        def history(session_id):
            if session_id not in store:
                store[session_id] = ChatMessageHistory()
            return store[session_id]
        """,
    "filled through a nested function": """
        sessions = dict()
        def make():
            def inner(key, value):
                sessions.setdefault(key, value)
            return inner
        def show():
            print(sessions)
        """,
}


@pytest.mark.parametrize("source", STATE.values(), ids=STATE)
def test_names_of_a_module_hold_state(source: str) -> None:
    assert found(source) == ["2 bind proc-global <module>"]


NO_STATE = {
    "a table that nothing changes": """
        STATES = {"a": 1}
        def look(key):
            return STATES[key]
        """,
    "a name of the same function": """
        cache = {}
        def fetch(url):
            cache = {}
            cache[url] = download(url)
            return cache
        """,
    "a parameter of the same name": """
        cache = {}
        def fetch(cache, url):
            cache[url] = download(url)
        """,
    "clients by name": """
        _clients = {}
        def client(name):
            _clients[name] = connect(name)
            return _clients[name]
        """,
    "a store that is a service": """
        _store = None
        def get_store():
            global _store
            if _store is None:
                _store = Store()
            return _store
        """,
    "a cache of handles": """
        _session_cache = {}
        def session(name):
            _session_cache[name] = ClientSession(name)
            return _session_cache[name]
        """,
    "settings": """
        _config = {}
        def configure(key, value):
            _config[key] = value
        def option(key):
            return _config[key]
        """,
    "a flag": """
        _cached = False
        def run():
            global _cached
            if not _cached:
                _cached = True
        """,
    "written and never read": """
        _history = []
        def log(line):
            _history.append(line)
        """,
    "collected when the module is loaded": """
        results = []
        for each in range(3):
            results.append(each)
        def show():
            print(results)
        """,
}


@pytest.mark.parametrize("source", NO_STATE.values(), ids=NO_STATE)
def test_machinery_and_constants_are_no_state(source: str) -> None:
    assert found(source) == []


def test_a_name_that_another_module_changes() -> None:
    state = "sessions = {}\n"
    use = """
        from app.state import sessions
        def keep(key, value):
            sessions[key] = value
        def get(key):
            return sessions[key]
        """
    assert found({"app/state.py": state, "app/use.py": use}) == ["app/state.py:1 bind proc-global <module>"]
    assert found({"app/other.py": state, "app/use.py": use}) == []


KEPT = """
    class {name}:
        def __init__(self):
            self.{attribute} = {value}
        def keep(self, key, value):
            {change}
        def get(self, key):
            return self.{attribute}[key]
    """


@pytest.mark.parametrize(
    ("name", "attribute", "value", "change"),
    [
        ("MemoryStore", "_threads", "{}", "self._threads[key] = value"),
        ("MemoryStore", "data", "{}", "self.data[key] = value"),
        ("Server", "state", "{}", "self.state[key] = State()"),
        ("Model", "_cache", "defaultdict(list)", "self._cache[key].x; self._cache.update(key, value)"),
        ("TaskQueue", "tasks", "deque()", "self.tasks.append(value)"),
        ("Agent", "messages", "[]", "self.messages.extend(value)"),
    ],
)
def test_attributes_of_an_instance_hold_state(name: str, attribute: str, value: str, change: str) -> None:
    source = KEPT.format(name=name, attribute=attribute, value=value, change=change)
    assert found(source) == [f"4 bind proc-global {name}.__init__"]


@pytest.mark.parametrize(
    ("name", "attribute", "value", "change"),
    [
        ("MemoryStore", "_locks", "{}", "self._locks[key] = value"),
        ("Server", "listeners", "{}", "self.listeners[key] = value"),
        ("HistoryScreen", "_state", "{}", "self._state[key] = value"),
        ("Parser", "_cache", "{}", "self._cache[key] = value"),
        ("Report", "sections", "{}", "self.sections[key] = value"),
        ("Server", "state", "{}", "self.state['x'] = value"),
        ("Loop", "messages", "[]", "self.messages = []; self.messages.append(value)"),
        ("Server", "_tasks", "set()", "self._tasks.add(value)"),
        ("Server", "state", "{}", "other.state[key] = value"),
    ],
)
def test_attributes_of_an_instance_that_are_no_state(name: str, attribute: str, value: str, change: str) -> None:
    assert found(KEPT.format(name=name, attribute=attribute, value=value, change=change)) == []


def test_a_class_attribute_is_shared_and_a_field_is_not() -> None:
    shared = """
        class Local{base}:
            cache = {{}}
            def put(self, key, value):
                self.cache[key] = value
            def get(self, key):
                return self.cache[key]
        """
    assert found(shared.format(base="")) == ["3 bind proc-global Local"]
    assert found(shared.format(base="(BaseModel)")) == []


def test_a_store_in_memory_is_attached_by_the_object_that_makes_it() -> None:
    files = {
        "memory.py": KEPT.format(
            name="MemoryStore", attribute="_threads", value="{}", change="self._threads[key] = value"
        ),
        "server.py": """
            from memory import MemoryStore
            class Server:
                def __init__(self):
                    self.store = MemoryStore()
            def once():
                return MemoryStore()
            """,
    }
    assert found(files) == [
        "memory.py:4 bind proc-global MemoryStore.__init__",
        "server.py:5 attach proc-global Server.__init__",
    ]


CACHED = """
    from functools import lru_cache
    import yfinance as yf
    import json
    @lru_cache(maxsize=8)
    def look({parameters}):
        {body}
    """


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        ("name", "return yf.Ticker(name).info"),
        ("", "return connection.execute('SELECT 1').fetchall()"),
        ("name", "return open(name).read()"),
        ("self, key", "return self.session.query(key)"),
    ],
)
def test_cached_results_of_stores_and_servers(parameters: str, body: str) -> None:
    assert found(CACHED.format(parameters=parameters, body=body)) == ["6 bind proc-cache look"]


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        ("name", "return json.loads(name)"),
        ("name", "return ''.join(sorted(name))"),
        ("name", "return yf.Client(name)"),
        ("", "return Settings()"),
        ("", "return yf.names().all()"),
        ("", "return open('notes.md').read()"),
        ("name", "return (resources.files(__package__) / name).read_text()"),
        ("name", "return yf.escape_name(name)"),
    ],
)
def test_cached_computations_and_handles_are_no_state(parameters: str, body: str) -> None:
    assert found(CACHED.format(parameters=parameters, body=body)) == []


def test_a_cached_function_that_asks_through_another() -> None:
    source = (
        CACHED.format(parameters="name", body="return ask(name)") + "    def ask(name):\n        return yf.get(name)\n"
    )
    assert found(source) == ["6 bind proc-cache look"]
    assert found(source.replace("from functools", "from tools")) == []


def test_ray_actors_keep_state_in_a_process_of_their_own() -> None:
    source = """
        import ray
        @ray.remote
        class Tasks:
            def __init__(self):
                self.todo = []
            def push(self, task):
                self.todo.append(task)
            def take(self):
                return self.todo.pop()
        class Client:
            def __init__(self):
                self.actor = Tasks.options(name="tasks", lifetime="detached").remote()
            def push(self, task):
                self.actor.push.remote(task)
            def take(self):
                return self.actor.take.remote()
        """
    assert found(source) == [
        "6 bind ray-actor Tasks.__init__",
        "13 bind ray-actor Client.__init__",
        "15 write ray-actor Client.push",
    ]


def test_sessions_of_streamlit() -> None:
    source = """
        import streamlit as st
        def main():
            st.session_state.messages = load()
            st.session_state["history"] = load()
            st.session_state.page = load()
        """
    assert found(source) == ["4 write ui-session main", "5 write ui-session main"]


def test_typescript() -> None:
    files = {
        "lib/cache.ts": """
            const cache = new Map<string, string>();
            export async function get(key: string) {
              if (!cache.has(key)) cache.set(key, await load(key));
              return cache.get(key);
            }
            """,
        "lib/prices.ts": """
            let cachedPrices: Price[] | null = null;
            export async function prices() {
              if (cachedPrices) return cachedPrices;
              cachedPrices = await load();
              return cachedPrices;
            }
            """,
        "components/list.tsx": """
            const cache = new Map();
            export function List(key) { cache.set(key, load(key)); return cache.get(key); }
            """,
        "app/history.ts": """
            export const save = (history) => {
              localStorage.setItem("chatHistory", JSON.stringify(history));
              localStorage.setItem("theme", "dark");
            };
            """,
    }
    assert found(files) == [
        "app/history.ts:3 write browser-storage save",
        "lib/cache.ts:2 bind proc-global <module>",
        "lib/prices.ts:2 bind proc-global <module>",
    ]
