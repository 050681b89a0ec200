"""Brute-force oracle: a reference model of Kedge, simple enough to check by reading.

It is written from the laws and shares no code with the kernel. Its state is one list of all writes and control changes,
in order. Every question is answered by scanning that list. A past point is a prefix of the list. A lineage is a
frozenset of deployment names. There is no cache, no index, no id and no I/O.

The oracle takes two things from the system under test: the `seq` of each write, and the canaries that a new session was
assigned to. It checks that the assignment was possible.

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
