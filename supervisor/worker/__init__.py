"""A worker process: one consumer, its handler threads, and what becomes of each record.

Modules, in the order a record meets them: ``poller`` (baton holder: polls, rebalances, commits), ``engine``
(shared state), ``executor`` (handler threads), ``outcomes`` (retry, dead letter, drop). Around them:
``process`` (main thread), ``leaving`` (an incarnation that only leaves the group).
"""
