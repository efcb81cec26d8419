"""The mutants: ways to break each promise that a tired engineer could find one day."""

from __future__ import annotations

from typing import Final

from tests.mutations.mutant import Edit, Mutant

_SHARD: Final = "worker/shard/"
_SAGA: Final = "worker/saga/"

MUTANTS: Final[tuple[Mutant, ...]] = (
    # --- P1 ---------------------------------------------------------------------------
    Mutant(
        name="unreadable-record-dropped",
        promise="P1",
        breaks="a record that cannot be read is passed over without a letter",
        edits=(
            Edit(
                _SHARD + "admission.py",
                "            self._letters.park(unit, record, Reason.UNREADABLE, str(error))\n",
                "",
            ),
        ),
        caught_by=("tests/shard/test_admission.py::test_an_unreadable_record_is_parked_whole",),
    ),
    Mutant(
        name="queue-overflow-dropped",
        promise="P1",
        breaks="the ninth request that waits for one binding is dropped, not parked",
        edits=(
            Edit(
                _SHARD + "admission.py",
                "            self._driver.broke(unit, entry, reason=Reason.QUEUE_FULL, message=message)\n",
                "",
            ),
        ),
        caught_by=("tests/shard/test_admission.py::test_the_ninth_queued_request_is_parked",),
    ),
    Mutant(
        name="repetition-served-again",
        promise="P1",
        breaks="what was finished is forgotten at once: a request that is repeated gets a second saga",
        edits=(
            Edit(
                _SHARD + "admission.py",
                "known = entry is not None or any(self._memory.seen.moment(digest) is not None "
                "for digest in identity)",
                "known = entry is not None",
            ),
        ),
        caught_by=("tests/shard/test_restore.py::test_blocks_take_over_ended_sagas_and_are_searched",),
    ),
    Mutant(
        name="position-before-the-records",
        promise="P1",
        breaks="the position names one record more than was taken",
        edits=(
            Edit(
                _SHARD + "intake.py",
                "position[record.input] = record.offset + 1",
                "position[record.input] = record.offset + 2",
            ),
        ),
        caught_by=("tests/shard/test_admission.py::test_two_requests_with_one_forged_origin_stay_apart",),
    ),
    Mutant(
        name="forward-without-origin",
        promise="P1",
        breaks="a request in the wrong partition is sent on without its first origin",
        edits=(
            Edit(
                _SHARD + "admission.py",
                "headers=(*kept, (FORWARDED_FROM_HEADER, origin.encode())),",
                "headers=kept,",
            ),
        ),
        caught_by=(
            "tests/shard/test_admission.py::test_a_stray_request_is_forwarded_once_with_its_first_origin",
        ),
    ),
    Mutant(
        name="timers-forgotten",
        promise="P1",
        breaks="timers are not set anew after a restore: who waited waits for ever",
        edits=(
            Edit(
                _SHARD + "claim.py",
                "        if phase in (Phase.WAITING, Phase.HELD, Phase.STOPPED):\n"
                "            memory.wake(entry)\n",
                "",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_partition_that_comes_back_keeps_its_memory",),
    ),
    # --- P2 ---------------------------------------------------------------------------
    Mutant(
        name="memory-survives-a-crash",
        promise="P2",
        breaks="after a failed transaction the shard goes on with what it had meant to write",
        edits=(
            Edit(
                _SHARD + "shard.py",
                "    def _crash(self, event: str, error: Exception) -> None:\n        self._memory = None\n",
                "    def _crash(self, event: str, error: Exception) -> None:\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_failed_commit_starts_no_call",),
    ),
    Mutant(
        name="memory-kept-unproven",
        promise="P2",
        breaks="a partition that comes back opens with the old memory, whoever has written meanwhile",
        edits=(
            Edit(
                _SHARD + "shard.py",
                "        except LogError:\n            return False\n        return True\n",
                "        except LogError:\n            return True\n        return True\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_partition_that_was_elsewhere_is_restored",),
    ),
    Mutant(
        name="no-fence",
        promise="P2",
        breaks="the journal is read before the last owner was fenced",
        edits=(
            Edit(
                _SHARD + "shard.py",
                "        await self._log.fence()\n",
                "        if self._log.__class__.__name__ == '':\n            await self._log.fence()\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_first_start_writes_its_position_before_it_opens",),
    ),
    Mutant(
        name="sequence-not-journalled",
        promise="P2",
        breaks="the journal keeps the sequence of the event before",
        edits=(Edit(_SHARD + "journal.py", '"n": saga.sequence,', '"n": max(0, saga.sequence - 1),'),),
        caught_by=(
            "tests/shard/test_restore.py::test_a_restored_memory_equals_the_one_that_wrote_the_journal",
        ),
    ),
    Mutant(
        name="sends-not-awaited",
        promise="P2",
        breaks="a transaction is committed without waiting for the records in it",
        edits=(
            Edit(
                "worker/kafka/shard_log.py",
                "        await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)\n"
                "        for future in futures:\n"
                "            if future.done():\n"
                "                future.result()\n",
                "",
            ),
        ),
        caught_by=("tests/kafka/test_log_suite.py::TestShardLog::test_refused_write",),
        real_broker=True,
    ),
    Mutant(
        name="restore-to-the-last-stable-offset",
        promise="P2",
        breaks="a restore ends where an open transaction hides the rest, as if that were all",
        edits=(
            Edit(
                "worker/kafka/shard_log.py",
                "        mark = await self._end_of(tp)\n        self._journal_end = mark\n",
                "        mark = (await self._fetch(tp, 0, committed=True)).last_stable_offset\n",
            ),
        ),
        caught_by=(
            "tests/kafka/test_log_suite.py::TestShardLog::test_restore_stalls_behind_an_open_transaction",
        ),
        real_broker=True,
    ),
    Mutant(
        name="hanging-records-left",
        promise="P2",
        breaks="records that a coordinator forgot to end are left: the next commit shows what was aborted",
        edits=(
            Edit(
                "worker/kafka/shard_log.py", "        await self._end_hanging(producer, last, before)\n", ""
            ),
        ),
        caught_by=("tests/kafka/test_hanging.py::test_what_hangs_is_ended_as_it_was_decided",),
        real_broker=True,
    ),
    Mutant(
        name="aborted-records-taken",
        promise="P1",
        breaks="requests are read uncommitted: one of an aborted transaction is served",
        edits=(
            Edit("worker/kafka/lane.py", "            committed=True,\n", "            committed=False,\n"),
        ),
        caught_by=(
            "tests/faults/inputs/test_open_transactions.py::test_requests_behind_an_open_transaction",
        ),
        real_broker=True,
    ),
    Mutant(
        name="another-transactions-fate",
        promise="P2",
        breaks="what hangs is ended as any transaction of its producer was, not as its own",
        edits=(
            Edit(
                "worker/kafka/traces.py",
                "(head.producer_epoch, head.stamp) == (trace.producer_epoch, trace.stamped_at)",
                "head.producer_epoch == trace.producer_epoch",
            ),
        ),
        caught_by=("tests/kafka/test_traces.py::test_the_marker_behind_the_batch_decides",),
    ),
    # --- P3 ---------------------------------------------------------------------------
    Mutant(
        name="calls-before-the-commit",
        promise="P3",
        breaks="calls start before the transaction that decided them is committed",
        edits=(
            Edit(
                _SHARD + "shard.py",
                "        writes = unit.seal(memory)\n",
                "        writes = unit.seal(memory)\n        self._calls.start(unit, memory)\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_call_starts_only_after_its_decision_is_committed",),
    ),
    Mutant(
        name="lease-ignored",
        promise="P3",
        breaks="the gate does not ask for the lease: a zombie that wakes up calls",
        edits=(
            Edit(
                _SHARD + "calls.py",
                "if under_way.void or not self._may_begin() or not self._lease.live():",
                "if under_way.void or not self._may_begin():",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_lease_lost_in_line_is_seen_at_the_gate",),
    ),
    Mutant(
        name="closed-shard-calls",
        promise="P3",
        breaks="the gate does not ask whether the shard is open: a call begins while it lets go",
        edits=(
            Edit(
                _SHARD + "calls.py",
                "            if under_way.void or not self._may_begin() or not self._lease.live():\n"
                "                raise NotBegun\n",
                "            if under_way.void or not self._lease.live():\n                raise NotBegun\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_no_call_begins_once_the_shard_lets_go",),
    ),
    Mutant(
        name="attempt-not-journalled",
        promise="P3",
        breaks="the journal does not say that a revocation was attempted: permission is asked for again",
        edits=(
            Edit(
                _SHARD + "journal.py",
                '        ("att", _letters(sorted(saga.attempted))),\n',
                '        ("att", ""),\n',
            ),
        ),
        caught_by=(
            "tests/shard/test_restore.py::test_a_restored_memory_equals_the_one_that_wrote_the_journal",
        ),
    ),
    Mutant(
        name="permission-never-old",
        promise="P3",
        breaks="a permission is good for ever",
        edits=(
            Edit(
                _SAGA + "calling.py",
                "return saga.allowed_at is None or abs(now_at - saga.allowed_at) > rules.permission_ms",
                "return saga.allowed_at is None",
            ),
        ),
        caught_by=("tests/saga/test_permission.py::test_old_permission_is_asked_for_again",),
    ),
    Mutant(
        name="dead-token-called-again",
        promise="P3",
        breaks="a saga does not look at what is dead when its turn comes",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "return Turn(dead=dead, inherited=_inheritance(memory, saga))",
                "return Turn(dead=frozenset(), inherited=_inheritance(memory, saga))",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_a_dead_target_is_seen_at_the_turn",),
    ),
    Mutant(
        name="invalid-token-is-always-success",
        promise="P3",
        breaks="INVALID_TOKEN on a first attempt counts as revoked, while a refreshed token lives",
        edits=(
            Edit(
                "worker/hub/apis/cancel_token.py",
                'Row("INVALID_TOKEN", Outcome.FAILURE, ResultClass.FINAL, _NOT_KNOWN, '
                "ResultClass.DONE_ALREADY)",
                'Row("INVALID_TOKEN", Outcome.FAILURE, ResultClass.DONE_ALREADY, _NOT_KNOWN)',
            ),
        ),
        caught_by=("tests/hub/test_result_tables.py::test_a_dead_token_is_evidence_only_after_doubt",),
    ),
    Mutant(
        name="inheritance-lost",
        promise="P3",
        breaks="what a parked saga attempted does not count for a new saga of the same token",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "return found if found.attempted else None",
                "return None",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_what_a_parked_saga_attempted_counts_for_the_next",),
    ),
    # --- P4 ---------------------------------------------------------------------------
    Mutant(
        name="due-time-lost",
        promise="P4",
        breaks="the journal drops when a wait ends: after a restore the call is made at once",
        edits=(
            Edit(_SHARD + "journal.py", '        ("due", saga.due_at),\n', ""),
            Edit(
                _SHARD + "claim.py",
                "        if phase in (Phase.DUE, Phase.CALLING, Phase.HELD, Phase.STOPPED):\n",
                "        if phase is Phase.WAITING and entry.saga.due_at is None:\n"
                "            entry.saga = __import__('dataclasses').replace(entry.saga, phase=Phase.DUE)\n"
                "            phase = Phase.DUE\n"
                "        if phase in (Phase.DUE, Phase.CALLING, Phase.HELD, Phase.STOPPED):\n",
            ),
        ),
        caught_by=(
            "tests/shard/test_restore.py::test_a_restored_memory_equals_the_one_that_wrote_the_journal",
        ),
    ),
    Mutant(
        name="expiry-ignored",
        promise="P4",
        breaks="expiresAt is not looked at before a call",
        edits=(
            Edit(
                _SAGA + "calling.py",
                "    if is_guarded(saga, step) and has_expired(saga, at=now_at):\n"
                "        return lapse(saga)\n",
                "",
            ),
        ),
        caught_by=("tests/saga/test_permission.py::test_expiry_before_a_call_lapses",),
    ),
    Mutant(
        name="patience-overdrawn",
        promise="P4",
        breaks="a step gives up by the clock alone: a wait may end beyond its time",
        edits=(
            Edit(
                _SAGA + "answering.py",
                "    if _used_up(saga, step, now_at=due_at, rules=rules):\n",
                "    if _used_up(saga, step, now_at=now_at, rules=rules):\n",
            ),
        ),
        caught_by=("tests/saga/test_patience.py::test_silence_walks_down_the_ladder_and_ends",),
    ),
    Mutant(
        name="retry-after-ignored",
        promise="P4",
        breaks="what Retry-After says is not waited for",
        edits=(
            Edit(
                _SAGA + "answering.py",
                "gap = max(gap, rules.slow_ms, min(result.retry_after_ms or 0, rules.slow_most_ms))",
                "gap = max(gap, rules.slow_ms)",
            ),
        ),
        caught_by=("tests/saga/test_patience.py::test_retry_after_is_believed_up_to_an_hour",),
    ),
    # --- P5 ---------------------------------------------------------------------------
    Mutant(
        name="lane-reordered",
        promise="P5",
        breaks="the last request of a binding gets its turn first",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "entry = memory.entries[lane.queue.pop(0)]",
                "entry = memory.entries[lane.queue.pop()]",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_a_replayed_saga_goes_to_the_end_of_its_lane",),
    ),
    Mutant(
        name="lane-shared",
        promise="P5",
        breaks="a second saga of a binding gets its turn while the first is under way",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "    if lane is None or lane.active is not None:\n",
                "    if lane is None:\n",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_one_saga_of_a_binding_at_a_time",),
    ),
    Mutant(
        name="one-wait-holds-all",
        promise="P5",
        breaks="a timer that falls due waits until no call of the whole partition is under way",
        edits=(
            Edit(
                _SHARD + "intake.py",
                "            or (due_at is not None and due_at <= now_at)\n",
                "            or (due_at is not None and due_at <= now_at and not self._calls.under_way)\n",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_a_slow_saga_delays_no_others_timer",),
    ),
    # --- P6 ---------------------------------------------------------------------------
    Mutant(
        name="letter-stays",
        promise="P6",
        breaks="the letter of a resumed saga stands on",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "    memory.stand(entry, letter=False)\n    unit.resolve_letter(entry.key)\n"
                "    lane = memory.leave_lane(entry)\n",
                "    memory.stand(entry, letter=False)\n    lane = memory.leave_lane(entry)\n",
            ),
        ),
        caught_by=("tests/shard/test_evidence_and_orders.py::test_a_replay_goes_on_at_the_failed_step",),
    ),
    Mutant(
        name="letter-missing",
        promise="P6",
        breaks="a saga is parked without a letter",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "    unit.write_letter(entry, meta=meta_of(entry), transition=decision.transitions[-1], "
                "message=message)\n",
                "",
            ),
        ),
        caught_by=("tests/shard/test_evidence_and_orders.py::test_a_replay_goes_on_at_the_failed_step",),
    ),
    # --- P7 ---------------------------------------------------------------------------
    Mutant(
        name="expected-sequence-ignored",
        promise="P7",
        breaks="a command is carried out although its letter has moved on",
        edits=(
            Edit(
                _SHARD + "commands.py",
                "        if saga.sequence != command.expected_sequence:\n",
                "        if saga.sequence < command.expected_sequence:\n",
            ),
        ),
        caught_by=(
            "tests/shard/test_evidence_and_orders.py::test_a_repeated_command_does_not_replay_a_letter_that_was_parked_again",
        ),
    ),
    Mutant(
        name="replay-from-the-start-after-an-attempt",
        promise="P7",
        breaks="a saga whose revocation was attempted may be replayed from the start",
        edits=(
            Edit(
                _SHARD + "commands.py",
                "        if command.resume_from is ReplayFrom.START and saga.attempted:\n",
                "        if command.resume_from is ReplayFrom.START and saga.revoked:\n",
            ),
            Edit(
                _SAGA + "decide.py",
                "    if from_start and saga.attempted:\n",
                "    if from_start and saga.revoked:\n",
            ),
        ),
        caught_by=("tests/shard/test_evidence_and_orders.py::test_from_the_start_is_refused_after_a_revoke",),
    ),
    Mutant(
        name="verdict-missing",
        promise="P7",
        breaks="a command is carried out without a verdict",
        edits=(
            Edit(
                _SHARD + "commands.py",
                "        unit.record_verdict(verdict, event_id=event_id, causation_id=causation_id)\n",
                "",
            ),
        ),
        caught_by=("tests/shard/test_evidence_and_orders.py::test_a_replay_goes_on_at_the_failed_step",),
    ),
    Mutant(
        name="letter-cancels-the-new-agreement",
        promise="P7",
        breaks="a letter whose cancel is still to come is replayed after its user has bound again",
        edits=(
            Edit(
                _SHARD + "lanes.py",
                "    return entry.offered_since or _has_rebinding(memory.lane(saga.binding_id), memory)\n",
                "    return _has_rebinding(memory.lane(saga.binding_id), memory)\n",
            ),
        ),
        caught_by=("tests/shard/test_new_agreement.py::test_no_replay_comes_to_a_cancel_after_an_offer",),
    ),
    # --- P8 ---------------------------------------------------------------------------
    Mutant(
        name="letter-not-sealed",
        promise="P8",
        breaks="what a saga keeps of its request is not sealed",
        edits=(
            Edit(
                _SHARD + "vault.py",
                "        return self._sealer.seal(value, aad=key.encode())\n",
                '        return Sealed(key_id=self._sealer.seal(b"", aad=b"").key_id, value=value)\n',
            ),
        ),
        caught_by=("tests/shard/test_admission.py::test_a_token_in_clear_is_written_nowhere",),
    ),
    Mutant(
        name="token-in-events",
        promise="P8",
        breaks="events carry the token where its fingerprint belongs",
        edits=(
            Edit(
                _SHARD + "vault.py",
                "        return self._fingerprints.fingerprint(token)\n",
                "        return token\n",
            ),
        ),
        caught_by=("tests/shard/test_admission.py::test_a_token_in_clear_is_written_nowhere",),
    ),
    # --- P9 ---------------------------------------------------------------------------
    Mutant(
        name="answers-not-verified",
        promise="P9",
        breaks="the signature of an answer is not looked at",
        edits=(
            Edit(
                "worker/hub/exchange.py",
                "            unverified = str(error)\n",
                '            unverified = "" if str(error) else "?"\n',
            ),
        ),
        caught_by=(
            "tests/hub/test_hostile_answers.py::test_a_good_answer_with_one_byte_changed_is_never_misread",
        ),
    ),
    # --- P10 --------------------------------------------------------------------------
    Mutant(
        name="culprit-stops-its-shard",
        promise="P10",
        breaks="a record that raises inside the worker is tried again for ever",
        edits=(
            Edit(
                _SHARD + "intake.py",
                "        culprit = self._culprits.named.get(_origin(record))\n",
                "        culprit = self._culprits.named.get('')\n",
            ),
        ),
        caught_by=("tests/shard/test_life.py::test_a_record_whose_handling_raises_is_parked_as_crashed",),
    ),
    Mutant(
        name="journal-may-be-deleted",
        promise="P10",
        breaks="the journal topic is made with compact,delete: retention deletes open sagas",
        edits=(
            Edit(
                "contracts/topics.py",
                '            cleanup="compact",\n            configs=MappingProxyType(\n',
                '            cleanup="compact,delete",\n            configs=MappingProxyType(\n',
            ),
        ),
        caught_by=("tests/contracts/test_topics.py::test_the_journal_is_compacted_and_never_deleted",),
    ),
    # --- P11 --------------------------------------------------------------------------
    Mutant(
        name="line-stays-shut",
        promise="P11",
        breaks="a stopped line is tried again after half a day, not after half a minute",
        edits=(
            Edit(
                _SHARD + "lines.py",
                "PROBE_WAITS_MS: Final = (30_000, 60_000,",
                "PROBE_WAITS_MS: Final = (43_200_000, 60_000,",
            ),
        ),
        caught_by=("tests/shard/test_lanes.py::test_the_first_of_a_stopped_line_parks_and_the_others_wait",),
    ),
    Mutant(
        name="one-limit-for-all",
        promise="P11",
        breaks="all counterparts share their places: one that hangs takes them all",
        edits=(
            Edit(
                "worker/hub/client.py",
                "            limit = Limit(\n",
                "            limit = next(iter(routes.values())).limit if routes else Limit(\n",
            ),
        ),
        caught_by=("tests/hub/test_limits.py::test_a_counterpart_that_hangs_leaves_the_others_their_places",),
    ),
    # --- P12 --------------------------------------------------------------------------
    Mutant(
        name="unknown-members-dropped",
        promise="P12",
        breaks="members that a newer version wrote are lost when an older one writes the record",
        edits=(Edit(_SHARD + "journal.py", "        **record.extra,\n", ""),),
        caught_by=("tests/shard/test_restore.py::test_unknown_members_of_a_state_are_kept",),
    ),
)
"""By promise."""
