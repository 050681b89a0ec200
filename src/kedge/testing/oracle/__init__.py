"""A brute-force oracle: what Kedge must answer, told in the simplest way that a reader can believe.

It is written from the laws, not from the kernel, and shares no code with it. All that ever happened is one list:
writes and control changes, in order. Every question is answered by scanning that list from the start. The past at a
point is the list cut off there. A lineage is a plain frozenset of deployment names. There is no cache, no index, no id
and no I/O.

The oracle cannot know two things, and takes them from the real thing as it observes them: the `seq` that a write was
given, and which canaries a new session was assigned to (it checks that the assignment was a possible one).

    history.py   the list, and what it says about deployments and sessions
    oracle.py    control changes, views, and reads in a view
    ranking.py   exact search: scores, filters, what ranks and what would have ranked
    turns.py     turns: what they pin, what they have read, what they stamp, when they must stop
"""

from kedge.testing.oracle.history import Change, Refused, World, Write
from kedge.testing.oracle.oracle import Oracle, View
from kedge.testing.oracle.ranking import Ranked, VectorValue
from kedge.testing.oracle.turns import OracleTurn

__all__ = ["Change", "Oracle", "OracleTurn", "Ranked", "Refused", "VectorValue", "View", "World", "Write"]
