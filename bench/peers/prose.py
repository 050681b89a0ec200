"""Texts of the page: what is compared, how, and what the numbers do not show."""

COMMAND = "make bench-peers   # or: python -m bench.peers --json peers.json --markdown docs/peers.md"

INTRODUCTION = """\
# Kedge beside other vector stores

This page is written by the command that measures. Every store gets the same rows, queries and writes on the same
machine in the same run, each in processes of its own; nothing here is taken from anybody's publication. Where another
store is better, it says so below."""

REVERSAL = """\
A deployment added 5 % of rows and wrote over 5 %. Then others went on: they added 0.5 %, wrote over 0.5 %, and over
0.1 % that the bad deployment had written over. Then it is rolled back. The time runs from the call until an added row
is found neither by search nor by id, and an overwritten one is back, by search and by id: three searches and a
look-up by id are in it. In brackets: until the call returned. It begins when the store is at rest: what it does behind
the scenes about those writes is waited for. The state is then checked by sample, row count included;
“others' writes kept” is the share of those that are there as they were written.

Kedge's number is the median of six (it can be undone: reinstated, and rolled back again); the others' is of one, the
first and only time. The others got the fastest method we know that loses nobody's writes; those without a second
table keep the old versions in a SQLite file beside them. The copying of old versions is part of their overwriting
below. A layout of versioned rows with a filter on every read would make the flip constant on any of them: that is
Kedge's own design, to be built and kept right by hand; the column “view on/off” says what the filter costs there."""

HOW = """\
**Searches** run one by one on one processor (all threads of the store are held on it), k = 10, payloads included,
after a warm-up, over 200 queries that are not among the rows; slow stores answer as many as 15 seconds allow. Kedge's
searches are a turn's: they verify each hit against the journal, and collect lineage. Where a store takes an effort
(probes, candidates), it gets the least that reaches Kedge's recall, or 0.98 if that is more, on 64 other queries;
where none does, the one that finds most. The JSON has the whole curve. **Loads, index builds, writes and rollbacks**
run on all processors, in batches of at most 10,000 rows, each of one deployment, as durable as the store does it by
itself: Kedge, SQLite, DuckDB and PostgreSQL sync each commit to disk; the others write files or a log, and leave some
of the syncing to the system.

**View on/off** compares the same queries with and without a view (elsewhere: a filter on the deployment's tag) that
hides the flood, in turns. A **view of 5 % (0.1 %)** is what a session sees that began before the deployments that
wrote the rest. The **flood** hides 88 % of the 1 % of rows that are nearest to each of eight places; queries are at
those places. “Rolled back” is after the store's own rollback, without rebuilding anything.

**Memory** is of a fresh process that has opened the store and answered the queries: “its own” is heap and shared
memory beyond what the process held before, mapped files are pages that the system can drop. PostgreSQL's server
processes count. **Disk** is after load and index build. **Search then** is the median right after the overwriting
against the one before.

**Clustered** rows: 2,000 clusters of uneven size and shape in 32 directions, and noise in all. **Text** rows:
paragraphs and sentences of the docstrings of Python's standard library.

What is not measured: many readers or writers at once, recall of rare payload filters, networks, replication, and what
the others offer beyond this; several of them are much more than a local index."""
