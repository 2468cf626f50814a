"""A retry policy: wait long while a service is down, give up at once on records that can never be worked.

Lies in the `plugins/` folder beside the configuration file, which lists it by its name:

    [groups.orders]
    plugins = ["patient_policy"]
"""

from supervisor.plugin import DeadLetter, Decision, Failure, Retry, hookimpl


@hookimpl
def retry_decision(failure: Failure) -> Decision | None:
    match failure.error:
        case ConnectionError() | TimeoutError():
            return Retry(after=min(60.0, 2.0**failure.attempt))
        case UnicodeDecodeError():
            return DeadLetter("not text")
        case _:
            return None  # the next policy, and in the end the group's [retry] table, decides
