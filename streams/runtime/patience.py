"""How long everything waits for brokers. In one table, because each line makes sense only beside the others (docs/adr/0011).

From the shortest to the longest; all in seconds.
"""

from __future__ import annotations

HEDGE_S = 0.5
"""Without an answer to a question that any broker can answer (metadata), another is asked as well."""
STALLED_S = 1.0
"""Without an answer to any other request, leaders are looked up, again and again until it is there. Also the time within which a
partition that is wanted has to be asked for."""
CONNECT_S = 3.0
"""For a connection and its greeting. A frozen broker's kernel accepts connections, so only the greeting tells."""
REFUSED_S = 4.0
"""At the start of a client, while every address refuses connections: nothing listens there."""
PRODUCE_S = 5.0
"""How long a leader may wait for its replicas before it says that they are late. Less than a request, or both give up at once."""
REQUEST_S = 8.0
"""For an answer. Then the connection is closed, and the request goes to whoever leads by then. At once when the other brokers
have dropped the one that owes the answer."""
LEADERS_MOVE_S = 12.0
"""A broker that dies or freezes is missed by the controller after `broker.session.timeout.ms` (9 s); electing follows."""
START_S = 20.0
"""For a client that starts, until one broker answers. One of three that is dead or frozen costs it HEDGE_S."""
BROKER_S = 60.0
"""What ends a process: no broker answers, a record or a commit is not accepted, for so long. More than a broker that freezes for
45 s, and than its leaders need to move and a request to be sent again."""
TRANSACTION_S = 60.0
"""After which a coordinator gives up a transaction that nobody ended: who died in one delays readers of its topic no longer."""

BACKOFF_S = 0.1
"""Before anything is asked again of who has answered with an error."""
BACKOFF_MOST_S = 1.0
"""Before connecting again to a broker that cannot be reached: doubles up to here."""
REMIND_S = 60.0
"""Between two lines about the same outage."""
