"""kedge deploy from flags and from a TOML manifest; canary, promote and settle."""

from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run

MANIFEST = """
name = "support-v9"
canary = 0.25
note = "shorter answers"

[artifacts]
"support/prompt" = {file = "prompt.txt"}
"support/model" = {uri = "models:/support/9", digest = "sha256:99", kind = "model", version = "9"}
"support/limits" = {turns = 4, words = [1, 2]}
"shared/temperature" = 0.5
"shared/logo" = {file = "logo.bin"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompt.txt").write_text("Answer in one line.\n", encoding="utf-8")
    (tmp_path / "logo.bin").write_bytes(b"\x89\xff\x00")
    (tmp_path / "release.toml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def test_from_a_manifest(run_nowhere: Run, folder: Path) -> None:
    result = run_nowhere("deploy", "release.toml", "--by", "ann")
    assert result.code == 0, result.err
    assert "support-v9 is canary: 25% of new sessions see it" in result.out
    assert "without naming its training-data snapshot" in " ".join(result.out.split())
    with kedge.open(folder / ".kedge") as k:
        view = k.view(deployment="support-v9")
        assert view.artifacts["support/prompt"].value == "Answer in one line.\n"
        model = view.artifacts["support/model"]
        assert (model.uri, model.digest, model.kind, model.version) == ("models:/support/9", "sha256:99", "model", "9")
        assert view.artifacts["support/limits"].value == {"turns": 4, "words": [1, 2]}
        assert view.artifacts["shared/temperature"].value == 0.5
        assert view.artifacts["shared/logo"].value == b"\x89\xff\x00"
        deployed = k.deployment("support-v9")
        assert (deployed.note, deployed.created_by, deployed.weight) == ("shorter answers", "ann", 0.25)


def test_files_are_looked_for_beside_the_manifest(
    run_nowhere: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert run_nowhere("deploy", "../release.toml").code == 0


def test_flags_win_over_the_manifest(run_nowhere: Run, folder: Path) -> None:
    argv = ("deploy", "release.toml", "--canary", "50%", "--note", "other", "-a", "support/prompt=From the flag")
    assert run_nowhere(*argv).code == 0
    with kedge.open(folder / ".kedge") as k:
        assert k.deployment("support-v9").weight == 0.5
        assert k.deployment("support-v9").note == "other"
        assert k.view(deployment="support-v9").artifacts["support/prompt"].value == "From the flag"


def test_from_flags(run_nowhere: Run, folder: Path) -> None:
    argv = ("-a", "a/prompt=x = y", "-a", "a/file=@prompt.txt", "-a", 'a/json:={"n": 1}')
    result = run_nowhere("deploy", "v1", *argv)
    assert result.code == 0, result.err
    assert "v1 is staged" in result.out
    with kedge.open(folder / ".kedge") as k:
        view = k.view(deployment="v1")
        assert view.artifacts["a/prompt"].value == "x = y"
        assert view.artifacts["a/file"].value == "Answer in one line.\n"
        assert view.artifacts["a/json"].value == {"n": 1}


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("name = ", "is not valid TOML"),
        ('name = "x"\n[artifacts]\na/prompt = "y"', 'quote keys that contain a slash: "agent/prompt"'),
        ('name = "x"\n', "no table [artifacts]"),
        ("[artifacts]\na = 'x'\n", "has no name"),
        ('name = "x"\ncanry = 0.1\n[artifacts]\na = "x"\n', "did you mean 'canary'"),
        ('name = "x"\ncanary = "much"\n[artifacts]\na = "x"\n', "write 0.1 or 10%"),
        ('name = "x"\ncanary = 7\n[artifacts]\na = "x"\n', "from 0 to 1"),
        ('name = "x"\n[artifacts]\n', "no artifacts for"),
        ('name = "x"\n[artifacts]\na = {file = "missing.txt"}\n', "missing.txt"),
        ('name = "x"\n[artifacts]\na = {uri = "u", digst = "d"}\n', "did you mean 'digest'"),
        ('name = "x"\n[artifacts]\na = {uri = "u"}\n', "without a digest"),
        ('name = "x"\n[artifacts]\na = {uri = "u", file = "f"}\n', "more than one"),
        ('name = "x"\n[artifacts]\na = {uri = 3, digest = "d"}\n', "must be a string"),
        ('name = "x"\n[artifacts]\na = 2026-03-03\n', "neither JSON nor bytes"),
    ],
)
def test_a_wrong_manifest(run_nowhere: Run, tmp_path: Path, manifest: str, says: str) -> None:
    (tmp_path / "wrong.toml").write_text(manifest, encoding="utf-8")
    result = run_nowhere("deploy", "wrong.toml")
    assert result.code == 2
    assert says in " ".join(result.err.split()), result.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("missing.toml",), "missing.toml"),
        (("v1",), "no artifacts for"),
        (("v1", "-a", "nothing"), "KEY=TEXT"),
        (("v1", "-a", "=x"), "KEY=TEXT"),
        (("v1", "-a", "k=@missing"), "missing"),
        (("v1", "-a", "k:={"), "not JSON"),
        (("external:x", "-a", "k=v"), "this prefix is reserved"),
        (("v1", "-a", "k=v", "--canary", "2"), "from 0 to 1"),
        (("v1", "-a", "k=v", "--base", "nope"), "nope"),
    ],
)
def test_wrong_flags(run_nowhere: Run, argv: tuple[str, ...], says: str) -> None:
    result = run_nowhere("deploy", *argv)
    assert result.code == 2
    assert says in " ".join(result.err.split()), result.err


def test_a_launch_as_it_is_typed(run: Run) -> None:
    assert "It depends on support-v1" in run("deploy", "v9", "-a", "support/prompt=Nine.").out
    assert "v9 is canary: 5% of new sessions see it" in run("canary", "v9", "0.05").out
    assert "v9 is live" in run("promote", "v9", "--yes").out
    assert run("settle", "v9", "--yes").code == 3
    assert "support-v1 is settled" in run("settle", "support-v1", "--yes").out
    assert "v9 is settled" in run("settle", "v9", "--yes").out


@pytest.mark.parametrize(("keys", "says"), [(99, "  99 keys were written both"), (120, "  At least 100 keys were")])
def test_promote_says_at_least_when_its_list_of_keys_is_full(run: Run, world: Path, keys: int, says: str) -> None:
    ids, vectors = [f"both-{number}" for number in range(keys)], [[1.0, 0, 0, 0]] * keys
    with kedge.open(world, durability="normal") as k:
        k.deploy("two", {"billing/prompt": "two"}, canary=1.0)
        for agent in ("other", "billing"):
            with k.turn(session="s-new", agent=agent) as turn:
                turn.vectors("kb").upsert(ids, vectors)
        with k.turn(session="s-new", agent="librarian") as turn:  # under another lineage: it is still one key
            assert turn.vectors("kb").get(ids[:1])
            assert turn.context.items("case/")
            turn.vectors("kb").upsert(ids[:1], vectors[:1])
    assert says in run("promote", "two", "--yes").out


def test_promote_says_what_is_shadowed(run: Run) -> None:
    run("deploy", "one", "-a", "support/tone=1")
    run("deploy", "two", "-a", "support/tone=2")
    run("promote", "two", "--yes")
    result = run("promote", "one", "--yes")
    assert "its support/tone has no effect: two is newer and overrides it" in result.out


def test_a_code_release_influences_every_turn_that_sees_it(run: Run, world: Path, tmp_path: Path) -> None:
    (tmp_path / "code.toml").write_text(
        'name = "build"\nattribution = "view"\n[artifacts]\n"shared/code" = "sha256:1"\n'
    )
    said = run("deploy", str(tmp_path / "code.toml"), "--canary", "100%")
    assert "influences every agent's turn that sees it" in said.out
    assert "build influences every agent's turn" in " ".join(run("status").out.split())
    with kedge.open(world) as k, k.turn("s-code", agent="accounting") as turn:
        assert turn.lineage == {"build"}
        turn.context.put("total", 1)
    plan = " ".join(run("plan", "build").out.split())
    assert "influenced because their turns saw it (attribution: view): accounting." in plan
    assert "data they read" not in plan
    run("promote", "build", "--yes")
    for name in ("fix", "next"):
        run("deploy", name, "-a", f"shared/{name}=2", "--base", "build")
    plan = " ".join(run("plan", "build").out.split())
    assert "influenced by data they read, or because their turns saw build (attribution: view): accounting." in plan
    more = run("deploy", "more", "-a", "shared/code=2", "--attribution", "view", "--json").document
    assert more["deployment"]["attribution"] == "view"
    wrong = run("deploy", "wrong", "-a", "shared/code=3", "--attribution", "code")
    assert (wrong.code, "'code'" in wrong.err, "'reads' or 'view'" in wrong.err) == (2, True, True)


def test_a_model_that_was_trained_on_state_goes_with_what_its_view_saw(run: Run, tmp_path: Path) -> None:
    first = run("deploy", "tuned", "-a", "ranker/model=one", "--derived-from", "deployment:support-v2", "--json")
    assert first.code == 0, first.err
    made = first.document["deployment"]
    assert made["declared"]["derived_from"] == {"view": "deployment:support-v2", "saw": sorted(made["bases"])}
    assert "support-v2" in made["bases"]
    shown = " ".join(run("plan", "support-v2").out.split())
    assert "tuned rests on support-v2: its model was derived from state that this influenced." in shown
    again = run("deploy", "tuned", "-a", "ranker/model=one", "--derived-from", "deployment:support-v2")
    assert again.code == 0
    assert "exists already with the same manifest" in again.out
    assert "Its model was derived from state of the view deployment:support-v2, which saw: " in " ".join(
        again.out.split()
    )
    other = run("deploy", "tuned", "-a", "ranker/model=one")
    assert other.code != 0
    assert "derived_from (deployment:support-v2 is recorded)" in other.err
    (tmp_path / "tuned.toml").write_text(
        'name = "alone"\nindependent = true\nderived_from = "now"\n[artifacts]\n"other/model" = "two"\n',
        encoding="utf-8",
    )
    assert run("deploy", str(tmp_path / "tuned.toml")).code == 0
    live = next(d["name"] for d in run("status", "--json").document["deployments"] if d["status"] == "live")
    shown = " ".join(run("plan", live).out.split())
    assert f"Warning: alone stays, although its model was derived from state that {live} influenced" in shown


@pytest.mark.parametrize("view", ["friday", "session:", "deployment:nobody"])
def test_a_view_that_is_none_deploys_nothing(run: Run, view: str) -> None:
    assert run("deploy", "tuned", "-a", "ranker/model=one", "--derived-from", view).code != 0
    assert "tuned" not in run("status", "--json").out


def test_lists_and_a_holdback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("user-1\n\nuser-2\n")
    manifest = tmp_path / "new.toml"
    manifest.write_text('name = "new"\nallow = ["user-0"]\n[artifacts]\n"support/prompt" = "Hi."\n')
    assert run("deploy", str(manifest), "--json").document["deployment"]["allow"] == ["user-0"]
    found = run("canary", "new", "0", "--allow", f"@{tmp_path / 'users.txt'}", "--deny", "user-3", "--json")
    assert (found.document["deployment"]["allow"], found.document["deployment"]["deny"]) == (
        ["user-1", "user-2"],
        ["user-3"],
    )
    again = run("deploy", str(manifest))
    assert again.code == 3
    assert "allow (2 are recorded)" in again.err
    assert run("canary", "new", "0", "--allow", "@missing.txt").code == 2
    assert run("promote", "new", "--holdback", "100%", "--yes").code == 2
    assert "except 10% of them" in run("promote", "new", "--holdback", "10%", "--yes").out
