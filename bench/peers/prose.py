"""Texts of the page: what is compared, how, and what the numbers do not show."""

COMMAND = "make bench-peers   # or: python -m bench.peers --json peers.json --markdown docs/peers.md"

INTRODUCTION = """\
# Kedge beside other vector stores

This page lets you compare Kedge with other ways to store vectors: search, writes, size, and undoing
a bad deployment. [Where others are better](#where-others-are-better) lists every number that beats
Kedge's.

The command that measures also writes this page. Every store gets the same rows, queries and writes,
on the same machine, in the same run, in processes of its own. No number comes from a publication."""

REVERSAL = """\
A bad deployment adds 5 % of rows and overwrites 5 %. Then other writers add 0.5 %, overwrite 0.5 %,
and overwrite 0.1 % that the bad deployment had overwritten. Then the bad deployment is rolled back.

The time starts at the call. It ends when an added row is found neither by search nor by id, and an
overwritten row is back, by search and by id: three searches and a look-up by id. The time in
brackets ends when the call returns. The clock starts once the store has finished its background
work on those writes. Afterwards a sample of the state is checked, and the row count.

Kedge's number is the median of six rollbacks, with a reinstatement between them. Other stores roll
back once, since they cannot undo it.

Other stores use the fastest method we know that loses nobody's writes. Stores without a second
table keep old versions in a SQLite file beside them. Copying old versions counts as part of their
overwriting below.

Versioned rows with a filter on every read would make the rollback constant on any of these stores.
That is Kedge's design; you would build it there, and keep it correct, by hand. “View on/off” shows
what the filter costs."""

KEPT = """\
“Kept” is the share of the other writers' writes that are still there, as they were written. Each
store rolls back in its own way:"""

SPEEDUP = """\
“Rollback speed-up” compares with the fastest store that keeps the other writers' writes; the table
names it. “Call” ends when the call returns, “reads” when three searches and a look-up by id show
the result. Limits are ours."""

SNAPSHOT = """\
A store can go back to a snapshot instead. That is simple, and loses what the other writers wrote
since (“lost”)."""

HOW = """\
**Searches** run one by one on one processor; all threads of the store are held on it. They return
the 10 best rows with their payloads, after a warm-up, for 200 queries that are not among the rows.
Slow stores answer as many queries as 15 seconds allow. Kedge searches inside a turn: it verifies
each hit against the journal, and collects lineage.

**Effort** (probes, candidates) is the least that reaches Kedge's recall, or 0.98 if that is more,
on 64 other queries. If no effort does, it is the one with the highest recall. The JSON has the
whole curve.

**Loads, index builds, writes and rollbacks** run on all processors, in batches of at most 10,000
rows, each of one deployment. Durability is each store's default. Kedge, SQLite, DuckDB and
PostgreSQL sync each commit to disk. The others write files or a log, and leave some of the syncing
to the system.

**View on/off** is the time with a view that hides the flood, divided by the time without, measured
in turns. For other stores the view is a filter on the deployment's tag. A **view of 5 % (0.1 %)**
is what a session sees that began before the deployments that wrote the rest.

The **flood** is 88 % of the 1 % of rows nearest to each of eight places. Queries are at those
places. “Flood, rolled back” is measured after the store's own rollback, without rebuilding
anything.

**Memory** is that of a fresh process that has opened the store and answered the queries. “Own
memory” is heap and shared memory beyond what the process held before. Mapped files are pages that
the system can drop. PostgreSQL's server processes count.

**Disk** is measured after load and index build. **Search after overwrite** is the median right
after the overwriting, divided by the median before.

**Clustered** rows form 2,000 clusters of uneven size and shape in 32 directions, with noise in all.
**Text** rows are paragraphs and sentences of the docstrings of Python's standard library.

Not measured: many readers or writers at once, recall of rare payload filters, networks,
replication, and what the other stores offer beyond this. Several of them are much more than a local
index.

Index of each store:"""
