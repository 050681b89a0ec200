#!/usr/bin/env python3
"""Checker of the form of commits: `area: summary` within 72 characters, a body, no merges.

It looks at the commits after the one whose subject is FIRST, which it finds by its subject, for hashes change when
branches are rebased. Without git, without history, or in a clone too shallow to hold that commit, it says what it
did not check and succeeds.
"""

import re
import subprocess
import sys
from pathlib import Path

FIRST = "layout: move modules to the folders of the design"
SUBJECT_MAX = 72
SUBJECT = re.compile(r"[a-z][a-z0-9_./ -]*: \S.*")
ROOT = Path(__file__).resolve().parent.parent
_FORMAT = "%H%x00%s%x00%P%x00%B%x01"


def faults(message: str, parents: int = 1) -> list[str]:
    """Return what is wrong with a commit."""
    subject, *rest = message.strip("\n").split("\n")
    found = []
    if parents > 1:
        found.append("is a merge: rebase the branch")
    if not SUBJECT.fullmatch(subject):
        found.append("has no subject of the form `area: summary`")
    if len(subject) > SUBJECT_MAX:
        found.append(f"has a subject of {len(subject)} characters: at most {SUBJECT_MAX}")
    if subject.endswith("."):
        found.append("has a full stop at the end of its subject")
    if not any(line.strip() for line in rest):
        found.append("has no body: say why")
    elif rest[0].strip():
        found.append("has no blank line between subject and body")
    return found


def check(folder: Path) -> tuple[str, bool]:
    """Return what was found in a repository, as a text, and whether it is good."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "log", "--topo-order", f"--format={_FORMAT}"],  # noqa: S607 - found on the PATH
            capture_output=True,
            check=False,
            text=True,
        )
    except OSError as error:
        return f"commits not checked: git cannot be run ({error.strerror})", True
    if done.returncode:
        return "commits not checked: this folder has no history", True
    commits = [entry.strip("\n").split("\0") for entry in done.stdout.split("\x01") if entry.strip()]
    first = next((commit for commit, subject, _, _ in commits if subject == FIRST), None)
    if first is None:
        return f"commits not checked: none of the {len(commits)} that this clone holds is {FIRST!r}", True
    later = _since(folder, first)
    told = [
        f"{commit[:9]} {subject!r:.100} {fault}"
        for commit, subject, parents, message in commits
        if commit in later
        for fault in faults(message, len(parents.split()))
    ]
    return "\n".join(told) or f"{len(later)} commits checked", not told


def _since(folder: Path, first: str) -> set[str]:
    command = ["git", "-C", str(folder), "rev-list", f"{first}..HEAD"]
    return set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())


if __name__ == "__main__":
    text, is_good = check(ROOT)
    print(text)
    sys.exit(not is_good)
