"""The promises of docs/proof.md, by number."""

from typing import Final

PROMISES: Final[dict[str, str]] = {
    "P1": "Every request ends in exactly one of: a final state, a dead letter, a join, or recognised as a "
    "repetition. None is lost, whatever is killed when",
    "P2": "A `read_committed` reader of the states topic sees every transition once, in order, `sequence` "
    "without gap or repeat",
    "P3": "No revoke call begins before a committed permission (or without a request that needs none), and "
    "none after a committed revoke of the same token and binding, except that a call already on its way when "
    "its worker was stopped or cut off may overlap; a worker without a lease begins none",
    "P4": "Never a call earlier than its `nextAttemptAt`, none before the first revoke attempt after "
    "`expiresAt`, none scheduled beyond the patience of its step",
    "P5": "Sagas of one binding never overlap (the exception of P3 apart); a slow or waiting saga never "
    "delays another binding's",
    "P6": "A dead letter stands as long as its saga is parked, and no longer",
    "P7": "Replay: at most one run per command, from the failed step, with the results that are there; a "
    "kill of any side at any moment repeats nothing",
    "P8": "No access token, key or secret in clear in any topic that the worker writes (a rerouted request "
    "apart), log line, metric, exception, command output or file",
    "P9": "An answer that cannot be verified is no answer",
    "P10": "Bad input of any kind never stops a shard and never loses its neighbours",
    "P11": "An outage of one counterpart costs the others nothing they would notice, and ends without a "
    "person",
    "P12": "An old journal and old dead letters are read by newer code; workers of two versions run side by "
    "side, and the newer one can be taken back",
}
"""Each with its sentence."""
