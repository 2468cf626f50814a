"""A throwaway child that looks where the supervisor itself must not: into user code, and at the cluster.

``python -m supervisor.inspector plugins``, ``... broker`` and ``... offsets``: a request as JSON on stdin, one
JSON object as the last line of stdout. What user code prints goes to stderr.
"""
