"""connectors.cli.replay_ports.Replays: the log again, on the system that runs here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from connectors.cli.ports import CannotGoOn, Report
from connectors.cli.replay_ports import Found, Period, Verified
from connectors.kafka import admin
from connectors.postgres import projection
from connectors.postgres.errors import OvertakenError
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import open_pool
from schemas.ids import derive
from schemas.topics import CUSTOMER_RESPONSES, DAY_MS, Topic
from streams.app.burials import Burials
from streams.app.gateway import KafkaGateway, seen
from streams.app.processors import clock_ms
from streams.app.system import Application
from streams.projector import Projector
from streams.replay import recording, republish, rerun, restoring
from streams.replay.difference import Differs
from streams.replay.files import verify_history
from streams.replay.history import NoHistory, read, write
from streams.replay.place import NoPlace, Place, place
from streams.replay.rebuild import Store, missing, rebuild
from streams.replay.verification import Counts
from streams.replay.verify import verify_log
from streams.replay.window import Window, window
from streams.runtime import Publisher, Record
from streams.runtime.reading import partition_counts
from streams.wire import outgoing


class Replaying(Burials):
    def __init__(self, application: Application) -> None:
        super().__init__(application)
        self._application = application

    @asynccontextmanager
    async def view(self, period: Period, note: Report, *, follow: bool = False) -> AsyncIterator[AsyncIterator[Found]]:
        start, end = where(period.start), where(period.end)
        wanted = _wanted(period)
        async with (
            self._application.attached() as gateway,
            window(
                _bootstrap(gateway), period.topic, start, end, partitions=list(period.partitions) or None, progress=note
            ) as log,
        ):
            for cut in log.cuts:
                note(str(cut))
            async with aclosing(_records(log, wanted, period.limit, follow)) as records:
                yield (Found(seen(record), record.value or b"") async for record in records)
            if log.disorder.records:
                note(f"{period.topic}: {log.disorder}")

    async def verify(
        self, start: str, *, partitions: Sequence[int], limit: int | None, processes: int | None, progress: Report
    ) -> Verified:
        async with self._application.attached() as gateway:
            outcome = await verify_log(
                _bootstrap(gateway),
                since=where(start),
                limit=limit,
                partitions=partitions,
                processes=processes,
                progress=progress,
            )
        found = outcome.difference
        return Verified(
            asdict(outcome.counts),
            outcome.seconds,
            str(found) if found else None,
            found.as_json() if found else None,
            outcome.notes,
        )

    def verify_file(self, path: str) -> Verified:
        began = time.monotonic()
        notes: list[str] = []
        try:
            counts = verify_history(read(Path(path)), note=notes.append)
        except NoHistory as error:
            raise CannotGoOn(str(error)) from error
        except Differs as found:
            return Verified(asdict(Counts()), time.monotonic() - began, str(found), found.difference.as_json())
        return Verified(asdict(counts), time.monotonic() - began, None, notes=notes)

    async def record(
        self, path: str, *, conversations: Sequence[str], workflow: str | None, limit: int | None
    ) -> Mapping[str, int]:
        async with self._application.attached() as gateway:
            made = await recording.record(
                _bootstrap(gateway), conversations=conversations, workflow=workflow, limit=limit, at_ms=clock_ms()
            )
        try:
            write(Path(path), made.history)
        except OSError as error:
            raise CannotGoOn(f"cannot write {path}: {error.strerror}. Name a file in a folder that can be written.") from error
        return {
            "conversations": made.conversations,
            "records": len(made.history.records),
            "left_out": made.left_out,
            "unreadable": made.unreadable,
        }

    async def republish(
        self, period: Period, target: str, *, confirmed: str | None, create: bool, dry_run: bool, note: Report
    ) -> Mapping[str, Any]:
        start, end = where(period.start), where(period.end)
        async with self._application.attached() as gateway, Publisher(_bootstrap(gateway)) as publisher:
            republish.check_target(period.topic, target, confirmed=confirmed)
            if create and not dry_run:
                await _create(_bootstrap(gateway), target, like=period.topic)
            replay_id = derive("republish", period.topic, target, clock_ms())
            done = await republish.republish(
                _bootstrap(gateway),
                publisher,
                period.topic,
                target,
                replay_id=replay_id,
                start=start,
                end=end,
                partitions=list(period.partitions) or None,
                wanted=_wanted(period),
                limit=period.limit,
                dry_run=dry_run,
                note=note,
            )
        return {"records": done.records, "bytes": done.bytes, "replay_id": replay_id}

    async def rerun(
        self, run_id: str, node: str, *, conversation: str | None, by: str, dry_run: bool, wait_seconds: float | None
    ) -> Mapping[str, Any]:
        async with self._application.attached() as gateway, Publisher(_bootstrap(gateway)) as publisher:
            request = await rerun.request(_bootstrap(gateway), run_id, node, conversation=conversation, by=by, at_ms=clock_ms())
            answer: dict[str, Any] = {"run_id": rerun.new_run(request), "request": request.model_dump(mode="json")}
            if dry_run:
                return answer
            async with gateway.tail([CUSTOMER_RESPONSES]) as responses:
                await publisher.send([outgoing(request)])
                if wait_seconds is not None:
                    answer["response"] = await _response(responses, answer["run_id"], wait_seconds)
        return answer

    async def restore(self, conversation: str, *, forget: bool, dry_run: bool) -> Mapping[str, int]:
        async with self._application.attached() as gateway, Publisher(_bootstrap(gateway)) as publisher:
            work = restoring.forget if forget else restoring.restore
            return asdict(await work(_bootstrap(gateway), publisher, conversation, dry_run=dry_run))

    async def rebuild(self, *, accept_loss: bool, report: Report) -> Mapping[str, Any]:
        async with self._application.attached() as gateway:
            if not gateway.addresses.database_url:
                raise CannotGoOn("no Postgres is known here: set HIL_DATABASE_URL")
            if (lost := await missing(_bootstrap(gateway))) and not accept_loss:
                raise CannotGoOn(
                    "rows about what retention has deleted from the log cannot be made again:\n"
                    + "\n".join(lost)
                    + "\nAdd --accept-loss to do without them."
                )
            async with (
                await open_pool(gateway.addresses.database_url) as pool,
                Publisher(_bootstrap(gateway)) as publisher,
            ):
                await migrate(pool)
                projector = Projector(projection.PostgresProjection(pool), send=publisher.send)
                store = Store(lambda: projection.reset(pool), lambda: projection.progress(pool), OvertakenError)
                done = await rebuild(_bootstrap(gateway), projector, store, report=report)
        return asdict(done)


def where(text: str) -> Place:
    try:
        return place(text, now_ms=clock_ms())
    except NoPlace as error:
        raise CannotGoOn(str(error)) from error


def _bootstrap(gateway: KafkaGateway) -> str:
    return gateway.addresses.kafka_bootstrap


def _wanted(period: Period) -> Callable[[Record], bool]:
    """Whether a record is asked for. A conversation is known by key, by ce_subject, or by what the value says."""
    key = period.key.encode() if period.key is not None else None
    name = period.conversation
    subject = name.encode() if name is not None else None

    def wanted(record: Record) -> bool:
        if key is not None and record.key != key:
            return False
        if subject is None or record.key == subject or ("ce_subject", subject) in record.headers:
            return True
        if subject not in (record.value or b""):
            return False
        body = seen(record).body
        return isinstance(body, dict) and body.get("conversation_id") == name

    return wanted


async def _records(
    log: Window, wanted: Callable[[Record], bool], limit: int | None, follow: bool
) -> AsyncGenerator[Record, None]:
    left = limit
    if left != 0:
        for source in (log.by_time(), *((log.onwards(),) if follow else ())):
            async with aclosing(source) as records:
                async for record in records:
                    if not wanted(record):
                        continue
                    yield record
                    if left is not None:
                        left -= 1
                        if left <= 0:
                            return


async def _create(bootstrap: str, name: str, *, like: str) -> None:
    """A topic as wide as another, if it is missing. Kept for a week: a copy is there to be looked at."""
    count = (await partition_counts(bootstrap, [like]))[like]
    topic = Topic(name, (), retention_ms=7 * DAY_MS)
    await admin.create_topics(bootstrap, partitions=count, topics={name: topic})


async def _response(responses: AsyncIterator[Any], run_id: str, patience: float) -> Any:
    try:
        async with asyncio.timeout(patience):
            async for response in responses:
                if isinstance(response.body, dict) and response.body.get("run_id") == run_id:
                    return response.body
    except TimeoutError:
        pass
    raise CannotGoOn(
        f"run {run_id} was asked for and has not answered within {patience:g} s: "
        "`hil replay customer.responses --from 1h --follow` shows it when it does"
    )
