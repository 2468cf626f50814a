"""The supervisor's folders and the lock that lets only one supervisor use them."""

import errno
import fcntl
import os
import stat
from pathlib import Path

from supervisor.parent.slots.slotfile import UNKNOWN_HOLDER, lock_holder


class UnsafePlaceError(Exception):
    """A folder is not ours alone, or cannot be made; the text says which, and what to do."""


class AlreadyRunningError(Exception):
    """Another supervisor uses this runtime folder."""


def make_private(folder: Path) -> None:
    """Make ``folder`` with mode 0700, or check that nobody else can put files into the one there is.

    ``/dev/shm`` and ``/tmp`` are open to all: whoever made our folder there first, or the one above it,
    would own our control socket.
    """
    before = os.umask(0o077)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make {folder}: {error.strerror}\n  help: choose another folder, or give it to this user"
        raise UnsafePlaceError(message) from error
    finally:
        os.umask(before)
    _check(folder, owners=(os.geteuid(),))
    _check(folder.parent, owners=(os.geteuid(), 0))


def _check(folder: Path, *, owners: tuple[int, ...]) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        found = folder.stat()
    if found.st_uid not in owners:
        message = f"{folder} belongs to user {found.st_uid}\n  help: choose another runtime_dir or state_dir"
        raise UnsafePlaceError(message)
    is_sticky = bool(found.st_mode & stat.S_ISVTX)
    if found.st_mode & stat.S_IWOTH and not is_sticky:
        message = f"{folder} is open to everybody\n  help: chmod o-w {folder}"
        raise UnsafePlaceError(message)


class ParentLock:
    """An exclusive POSIX lock on the runtime folder's lock file, held as long as this process lives.

    The kernel drops it with the process, however that ends; the file stays and means nothing by itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _locked(path)

    def renew(self) -> bool:
        """Make and lock the file anew if what is at its path is not ours; tell whether that was so.

        The lock is the inode's: who deletes the file lets another supervisor in. Raises ``AlreadyRunningError``
        when one is there by now, ``UnsafePlaceError`` and ``OSError`` when no file can be made.
        """
        try:
            if os.path.samestat(self.path.lstat(), os.fstat(self._fd)):
                return False  # closing another descriptor of it would drop the lock: it is not opened
        except FileNotFoundError:
            make_private(self.path.parent)
        old, self._fd = self._fd, _locked(self.path)
        os.close(old)
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._fd)


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError as error:
        holder = lock_holder(fd)
        os.close(fd)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        who = f"pid {holder}" if holder not in (None, UNKNOWN_HOLDER) else "another process"
        message = (
            f"a supervisor is already running here ({who} holds {path})\n"
            "  help: supervisor status shows it; two need different names and runtime folders"
        )
        raise AlreadyRunningError(message) from error
    return fd
