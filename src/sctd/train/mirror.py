"""A run at an address (s3://bucket/run): done in a folder of the cache, and all that counts is sent there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sctd.console import say
from sctd.errors import UserError
from sctd.locks import LOCK, locked
from sctd.remote import (
    cache_folder,
    check_writable,
    delete_folder,
    download,
    move_folder,
    read_bytes,
    remote_files,
    upload_folder,
)
from sctd.train.begun import SET_ASIDE, clear
from sctd.train.checkpoint import STATE, list_checkpoints, read_state

CHECKPOINTS = "checkpoints"
NOT_SENT = ("checkpoints", "wandb", "model", SET_ASIDE)  # sent by their own calls, or trackers' own


class Mirror:
    """The address is the run, the folder its copy: what a process finds there counts.

    A checkpoint's state.json is sent last, so that one without it is an unfinished one.

    Args:
        address: of the run.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.folder = cache_folder(address)
        self._held: set[str] = set()  # names of the checkpoints that the folder has had: fetched, or sent

    def fetch(self, wanted: str | None = None, first: bool = True) -> Path:
        """The folder, with the newest whole checkpoint and the record that the address has.

        Args:
            wanted: also a checkpoint of this name, if it is there.
            first: of a run's processes; it alone sends what could not be sent before.

        Raises:
            UserError: it cannot be reached, or none of its checkpoints can be used.
        """
        waiting = f"Another process reads {self.address}; this one waits for it."
        with locked(self.folder.with_name(f"{self.folder.name}.lock"), waiting=waiting):
            there = remote_files(self.address)
            if not there or not self._is_of_the_run(there):
                self._keep_apart("is empty" if not there else "has another run now")
            steps = {int(name.split("/")[1][5:]) for name in there if _is_state(name)}
            for own in list_checkpoints(self.folder):
                step = int(own.name[5:])
                if step in steps and self._same(own):
                    continue
                if first and step > max(steps, default=-1) and _is_whole(own):  # it could not be sent
                    upload_folder(own, f"{self.address}/{CHECKPOINTS}/{own.name}", last=STATE, show=False)
                    steps.add(step)
                else:
                    _remove(own)  # half of one, or of a way that the run did not go on
            for name in there:
                if name.partition("/")[0] not in NOT_SENT:
                    download(f"{self.address}/{name}", self.folder / name)
            if steps and not any(
                self._fetch_checkpoint(f"{CHECKPOINTS}/step-{step}", there) for step in sorted(steps, reverse=True)
            ):
                raise UserError(
                    f"{self.address} has checkpoints, of which none can be used; what is wrong with each stands above. "
                    "Give another --out, or remove them to begin anew."
                )
            if wanted is not None and f"{CHECKPOINTS}/{wanted}/{STATE}" in there:
                self._fetch_checkpoint(f"{CHECKPOINTS}/{wanted}", there)
            self._held = {folder.name for folder in list_checkpoints(self.folder)}
        return self.folder

    def check_writable(self) -> None:
        """Raise UserError if nothing can be written there."""
        check_writable(self.address)

    def send_record(self) -> None:
        """Everything but checkpoints and model."""
        names = [
            file.relative_to(self.folder).as_posix()
            for file in self.folder.rglob("*")
            if file.is_file()
            and file.relative_to(self.folder).parts[0] not in NOT_SENT
            and not file.name.startswith(".")
        ]
        upload_folder(self.folder, self.address, names, show=False)

    def send_checkpoint(self, place: Path) -> None:
        """A checkpoint, then the record; of those that the folder had, what it no longer keeps is deleted there.

        No others: the folder never had what another machine's run keeps there.
        """
        upload_folder(place, f"{self.address}/{CHECKPOINTS}/{place.name}", last=STATE, show=False)
        self.send_record()
        self._held.add(place.name)
        for name in self._held - {folder.name for folder in list_checkpoints(self.folder)}:
            delete_folder(f"{self.address}/{CHECKPOINTS}/{name}")
            self._held.remove(name)

    def set_aside(self, step: int) -> None:
        """Checkpoints there that are newer than the one that the run goes on from, out of the way."""
        for name in sorted({file.split("/")[1] for file in remote_files(self.address) if _is_state(file)}):
            if int(name[5:]) > step:
                move_folder(f"{self.address}/{CHECKPOINTS}/{name}", f"{self.address}/{SET_ASIDE}/{name}")
                self._held.discard(name)

    def send_model(self) -> None:
        """The Hugging Face folder, at the end."""
        upload_folder(self.folder / "model", f"{self.address}/model", last="config.json", show=False)
        say(f"Written to {self.address}/model.")

    def _is_of_the_run(self, there: dict[str, int]) -> bool:
        """Whether what the folder has is of the run at the address: environment.json has the time of its beginning."""
        own = self.folder / "environment.json"
        if not own.is_file() or own.name not in there:
            return not list_checkpoints(self.folder)
        return own.read_bytes() == read_bytes(f"{self.address}/{own.name}")

    def _keep_apart(self, why: str) -> None:
        """The address's run was removed, or its disk is not there now: the copy is no longer this run's."""
        if list_checkpoints(self.folder):
            apart = self.folder.with_name(f"{self.folder.name}.gone")
            _remove(apart)
            apart.mkdir()
            for each in [each for each in self.folder.iterdir() if each.name != LOCK]:
                each.rename(apart / each.name)
            say(f"{self.address} {why}; a copy of the run that was there is kept in {apart}.")
        clear(self.folder)

    def _same(self, own: Path) -> bool:
        there = f"{self.address}/{CHECKPOINTS}/{own.name}/{STATE}"
        return (own / STATE).is_file() and (own / STATE).read_bytes() == read_bytes(there)

    def has_model(self) -> bool:
        """The address has the Hugging Face folder, whole."""
        return "model/config.json" in remote_files(self.address)

    def _fetch_checkpoint(self, name: str, there: dict[str, int]) -> bool:
        """Whether the folder has this checkpoint now, whole."""
        folder = self.folder / name
        if _is_whole(folder):
            return True
        _remove(folder)  # what is here may be damaged, and whole there
        for file in there:
            if file.startswith(f"{name}/"):
                download(f"{self.address}/{file}", folder / Path(file).name)
        try:
            read_state(folder)
        except UserError as error:
            say(f"Passed over: {error}")
            _remove(folder)
            return False
        return True


def _is_whole(checkpoint: Path) -> bool:
    with suppress(UserError):
        read_state(checkpoint)
        return True
    return False


def _is_state(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 3 and parts[0] == CHECKPOINTS and parts[1][5:].isdigit() and parts[2] == STATE


def _remove(folder: Path) -> None:
    import shutil

    assert folder.name
    shutil.rmtree(folder, ignore_errors=True)
