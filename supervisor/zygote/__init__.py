"""The zygote: one process with everything imported and one thread, which forks worker processes on request.

It is started by the parent, holds no client and runs no user code but the modules of ``preload``. Workers are
forked twice, so that they become children of the parent, which is a subreaper (prctl(2)).
"""
