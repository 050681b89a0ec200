"""Kedge scans itself and its examples: each row is true, as read by a person, and none is missing that was there.

A new row here is either true, and belongs into the list, or a fault of the scan.
"""

from pathlib import Path

from kedge.discovery.scanning import Scan, scan

ROOT = Path(__file__).parents[3]
EXAMPLES = """
    langgraph_drill_postgres.py bind lg-saver:postgres OnPostgres.__init__
    langgraph_drill_postgres.py bind lg-store:postgres OnPostgres.__init__
    langgraph_drill_postgres.py bind postgres OnPostgres.delete_checkpoints
    langgraph_drill_postgres.py bind postgres _copy
    langgraph_drill_postgres.py bind postgres new_database
    langgraph_drill_team.py attach lg-saver:* Team.__init__
    langgraph_drill_team.py attach lg-store:* Team.__init__
    langgraph_drill_team.py bind chroma ChromaCases.__init__
    langgraph_drill_team.py bind kedge KedgeCases.__init__
    langgraph_drill_team.py bind kedge OnKedge.__init__
    langgraph_drill_team.py bind kedge OnKedge.checkpointer
    langgraph_drill_team.py bind lg-saver:sqlite OnLangGraph.__init__
    langgraph_drill_team.py bind lg-store:sqlite OnLangGraph.__init__
    langgraph_drill_team.py bind sqlite _copy
    langgraph_drill_team.py write chroma ChromaCases.add
    langgraph_drill_team.py write chroma OnLangGraph.delete_tagged
    langgraph_drill_team.py write kedge KedgeCases.add
    langgraph_drill_team.py write lg-store:* Team.put
    langgraph_drill_team.py write lg-store:sqlite OnLangGraph.delete_tagged
    langgraph_drill_team.py write lg-store:sqlite StoreCases.add
    langgraph_support_team.py attach kedge graph_on
    langgraph_support_team.py bind kedge <module>
    langgraph_support_team.py bind kedge graph_on
    langgraph_support_team.py write lg-store:* research
    support_team.py bind kedge <module>
    support_team.py write kedge team_of.ask
    support_team.py write kedge team_of.research
    support_team.py write kedge team_of.work
"""
KEDGE = """
    backends/postgres/databases.py bind postgres
    backends/postgres/pools.py bind postgres
    backends/sqlite/database.py bind sqlite
    backends/sqlite/database.py write sqlite
    backends/sqlite/fsck/__init__.py bind sqlite
    backends/sqlite/fsck/file.py bind sqlite
    backends/sqlite/migration/importer.py write sqlite
    backends/sqlite/schema/__init__.py bind sqlite
    bulk/chroma.py bind sqlite
    discovery/scan/caching.py write file:cache
    discovery/traces/fold.py bind sqlite
    discovery/traces/fold.py write sqlite
    drill/stopping.py bind sqlite
    integrations/langgraph/saver_memory.py bind lg-saver:memory
    integrations/langgraph/saver_memory.py write lg-saver:memory
    testing/postgres.py write file:memory
"""
OFTEN = ("proc-", "kedge")  # maps that a process holds, and calls of Kedge itself: rows that each change may move


def rows(found: Scan, *, functions: bool) -> set[str]:
    """Return the sites as lines of text, without line numbers."""
    return {
        f"{site.path} {site.site_class} {site.store}" + (f" {site.function}" if functions else "")
        for site in found.sites
    }


def lines(text: str) -> set[str]:
    return {line.strip() for line in text.strip().splitlines()}


def test_the_examples() -> None:
    found = scan(ROOT / "examples")
    assert rows(found, functions=True) == lines(EXAMPLES)
    assert found.unparsed == ()


def test_kedge_itself() -> None:
    found = scan(ROOT / "src" / "kedge")
    rare = {row for row in rows(found, functions=False) if not row.split()[2].startswith(OFTEN)}
    assert rare == lines(KEDGE)
    assert found.unparsed == ()
